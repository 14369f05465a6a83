"""What the twin has of each operator, small functions in a registry; importing this fills it."""

from tfharden.tflite.twin.operators import (
    convolutions,
    elementwise,
    matrices,
    pooling,
    quantisation,
    reductions,
    resizing,
    shapes,
    slicing,
    softmax,
    tables,
)

__all__ = [
    "convolutions",
    "elementwise",
    "matrices",
    "pooling",
    "quantisation",
    "reductions",
    "resizing",
    "shapes",
    "slicing",
    "softmax",
    "tables",
]
