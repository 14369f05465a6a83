"""What the twin has of each operator, small functions in a registry; importing this fills it."""

from tfharden.tflite.twin.operators import (
    convolutions,
    elementwise,
    matrices,
    parts,
    pooling,
    quantisation,
    reductions,
    resizing,
    shapes,
    softmax,
    tables,
)

__all__ = [
    "convolutions",
    "elementwise",
    "matrices",
    "parts",
    "pooling",
    "quantisation",
    "reductions",
    "resizing",
    "shapes",
    "softmax",
    "tables",
]
