"""Classifiers, which are what is attacked: a base class, and Keras models, .tflite files and functions as such."""

from tfharden.classifiers.adapters import as_classifier
from tfharden.classifiers.base import BATCH_SIZE, Classifier, are_probabilities, decide, images_per_call, in_batches
from tfharden.classifiers.callables import CallableClassifier
from tfharden.classifiers.keras_models import KerasClassifier, load_model, logits_of, shapes, to_logits
from tfharden.classifiers.tflite_files import TFLiteClassifier, TwinClassifier, tflite_classifier

__all__ = [
    "BATCH_SIZE",
    "CallableClassifier",
    "Classifier",
    "KerasClassifier",
    "TFLiteClassifier",
    "TwinClassifier",
    "are_probabilities",
    "as_classifier",
    "decide",
    "images_per_call",
    "in_batches",
    "load_model",
    "logits_of",
    "shapes",
    "tflite_classifier",
    "to_logits",
]
