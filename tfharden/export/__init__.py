"""Keras models as .tflite files."""

from tfharden.export.converter import Artifact, ExportError, to_tflite
from tfharden.export.recipes import BY_NAME as RECIPES

__all__ = ["RECIPES", "Artifact", "ExportError", "to_tflite"]
