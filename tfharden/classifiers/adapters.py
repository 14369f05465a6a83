"""A classifier from whatever can be one."""

import os
import pathlib

import keras

from tfharden.classifiers.base import Classifier
from tfharden.classifiers.keras_models import KerasClassifier, load_model
from tfharden.classifiers.tflite_files import tflite_classifier
from tfharden.errors import InputError
from tfharden.tflite import TFLiteFile


def as_classifier(model: object, bounds: tuple[float, float] = (0.0, 1.0), **options: object) -> Classifier:
    """A classifier from a classifier, a Keras model, a checked file, or the path of a .keras or .tflite file.

    Files for TFLite have the gradients of their twins where `tflite.Twin` can do their operators.

    Raises:
        InputError: something else, a missing or broken file, a .keras file with code in it (a Lambda layer).
    """
    if isinstance(model, Classifier):
        return model
    if isinstance(model, keras.Model):
        return KerasClassifier(model, bounds=bounds)
    if isinstance(model, TFLiteFile):
        return tflite_classifier(model, **options)  # type: ignore[arg-type]
    if isinstance(model, str | os.PathLike):
        path = pathlib.Path(model)
        if path.suffix == ".keras":
            return KerasClassifier(load_model(path), path.name, bounds, path)
        if path.suffix == ".tflite":
            return tflite_classifier(path, **options)  # type: ignore[arg-type]
        raise InputError(f"{path}: unknown kind of model file; known are .keras and .tflite")
    raise InputError(
        f"can't attack a {type(model).__name__}: give a Keras model, a .keras or .tflite path, a classifier"
    )
