"""Datasets by name, and checks of images and labels."""

from tfharden.data.datasets import NAMES, Dataset, load, sha256, take

__all__ = ["NAMES", "Dataset", "load", "sha256", "take"]
