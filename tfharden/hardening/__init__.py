"""Adversarial training inside Keras' `fit`."""

from tfharden.hardening import objectives
from tfharden.hardening.augmentation import Affine
from tfharden.hardening.callbacks.best_epoch import BestEpoch
from tfharden.hardening.callbacks.catastrophic_overfitting import CatastrophicOverfitting
from tfharden.hardening.confidence_measure import AnswerConfidence, Confidence, confidence, confidence_table
from tfharden.hardening.input_pipeline import shuffled, untuned
from tfharden.hardening.robust_model import RobustModel
from tfharden.hardening.weight_perturbation import WeightPerturbation

__all__ = [
    "Affine",
    "AnswerConfidence",
    "BestEpoch",
    "CatastrophicOverfitting",
    "Confidence",
    "RobustModel",
    "WeightPerturbation",
    "confidence",
    "confidence_table",
    "objectives",
    "shuffled",
    "untuned",
]
