"""Adversarial training inside `fit`."""

from tfharden.hardening import objectives
from tfharden.hardening.robust_model import RobustModel
from tfharden.hardening.weight_perturbation import WeightPerturbation

__all__ = ["RobustModel", "WeightPerturbation", "objectives"]
