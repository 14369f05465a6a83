"""Operators of .tflite files: a spec for each. A family's file holds all that is known of its operators."""

from tfharden.tflite.ops import (  # registers them
    activations,
    convolutions,
    elementwise,
    joining,
    matrices,
    pooling,
    quantisation,
    reductions,
    resizing,
    shapes,
    slicing,
    softmax,
)
from tfharden.tflite.ops.spec import KNOWN, Call, OperatorSpec, of, register

__all__ = [
    "KNOWN",
    "Call",
    "OperatorSpec",
    "activations",
    "convolutions",
    "elementwise",
    "joining",
    "matrices",
    "of",
    "pooling",
    "quantisation",
    "reductions",
    "register",
    "resizing",
    "shapes",
    "slicing",
    "softmax",
]
