"""Adversarial training inside `fit`."""

from tfharden.hardening import objectives
from tfharden.hardening.robust_model import RobustModel

__all__ = ["RobustModel", "objectives"]
