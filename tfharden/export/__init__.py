"""Keras models as .tflite files, and those as sources for microcontrollers."""

from tfharden.export.artifact import Artifact, ExportError
from tfharden.export.converter import to_tflite
from tfharden.export.manifests import Manifest
from tfharden.export.mcu import mcu_kit
from tfharden.export.measurement import manifest
from tfharden.export.parity import LEAST_AGREEMENT
from tfharden.export.recipes import KNOWN as RECIPES
from tfharden.export.recipes import TARGETS

__all__ = [
    "LEAST_AGREEMENT",
    "RECIPES",
    "TARGETS",
    "Artifact",
    "ExportError",
    "Manifest",
    "manifest",
    "mcu_kit",
    "to_tflite",
]
