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
from tfharden.tflite.ops.spec import Call, OperatorSpec, find, names, of, register

__all__ = [
    "Call",
    "OperatorSpec",
    "activations",
    "convolutions",
    "elementwise",
    "find",
    "joining",
    "matrices",
    "names",
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
