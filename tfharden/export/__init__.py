"""Keras models as .tflite files."""

from tfharden.export.converter import Artifact, ExportError, to_tflite

__all__ = ["Artifact", "ExportError", "to_tflite"]
