"""Shapes of all tensors of a graph, worked out as LiteRT does, without it."""

from tfharden.tflite.shapes.call import Dims
from tfharden.tflite.shapes.infer import infer

__all__ = ["Dims", "infer"]
