"""Datasets by name, and checks of images and labels."""

from tfharden.data.datasets import NAMES, Dataset, load, register, sha256, take
from tfharden.data.examples import Examples, check_images, check_labels

__all__ = ["NAMES", "Dataset", "Examples", "check_images", "check_labels", "load", "register", "sha256", "take"]
