"""Resizing of images: RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfharden.tflite.graph import Operator, Shape
from tfharden.tflite.kernels.kernel_set import Function, KernelSet, check_size, refuse
from tfharden.tflite.kernels.straight_through import straight_through
from tfharden.tflite.ops import windows
from tfharden.tflite.ops.common import image_shape
from tfharden.tflite.ops.spec import Call, OperatorSpec, register


def _shape(call: Call) -> Shape:
    """The size that is asked for."""
    count, _, _, channels = image_shape(call.shapes[0])
    height, width = call.whole(1)
    return (count, height, width, channels)


def _neighbours(_: Call, output: Shape, __: int) -> int:
    """Pointers to the four neighbours, and as many weights."""
    return math.prod(output[:3]) * 8 * windows.POINTER_BYTES


class _Places(NamedTuple):
    """Where each output lies between two inputs: their places, and the share of the upper one."""

    lower: np.ndarray
    upper: np.ndarray
    share: np.ndarray

    def matrix(self, size: int) -> np.ndarray:
        """From `size` inputs to the outputs, `[outputs, size]`."""
        rows = np.arange(len(self.share))
        weights = np.zeros([len(rows), size])
        np.add.at(weights, (rows, self.lower), 1 - self.share)
        np.add.at(weights, (rows, self.upper), self.share)
        return weights


def _resize_bilinear(op: Operator, kernels: KernelSet) -> Function:
    """The mean of the four nearest pixels, weighted by nearness: a matrix for each axis."""
    sizes = list(zip(op.inputs[0].shape[1:3], op.output.shape[1:3], strict=True))
    for pair in sizes:
        check_size(op, pair)
    real = [tf.constant(_places(op, *pair).matrix(pair[0]), tf.float32) for pair in sizes]

    def smooth(x: tf.Tensor) -> tf.Tensor:
        return _resized(x, real)

    if not op.output.quantised:
        return lambda x, _: smooth(x)
    xnnpack = not kernels.reference and op.output.element != "INT16"
    if not xnnpack and op.output.element == "UINT8":
        raise refuse(op, "it takes UINT8")
    bits = 11 if xnnpack else 10
    whole = [(_rounded(_places(op, *pair), bits) if xnnpack else _whole(op, *pair)).matrix(pair[0]) for pair in sizes]
    zero = 0.0 if xnnpack else float(op.output.zero_point)

    def exact(x: tf.Tensor) -> tf.Tensor:
        # Weights add up to 1, so that zero points stay.
        stored = _resized(tf.cast(x, tf.float64), [tf.constant(matrix, tf.float64) for matrix in whole]) + zero
        away = tf.sign(stored) * tf.floor(tf.abs(stored) + 0.5)
        return tf.cast((tf.floor(stored + 0.5) if xnnpack else away) - zero, tf.float32)

    return lambda x, _: straight_through(exact, smooth, x)


def _resized(x: tf.Tensor, matrices: list[tf.Tensor]) -> tf.Tensor:
    return tf.einsum("vw,nhwc->nhvc", matrices[1], tf.einsum("uh,nhwc->nuwc", matrices[0], x))


def _places(op: Operator, size: int, outputs: int) -> _Places:
    """In float32, as the kernels have it."""
    corners = int(op.option("align_corners") and outputs > 1)
    scale = np.float32(size - corners) / np.float32(outputs - corners)
    offset = np.float32(0.5) * scale - np.float32(0.5) if op.option("half_pixel_centers") else np.float32(0)
    places = np.clip(np.arange(outputs, dtype=np.float32) * scale + offset, 0, np.float32(size - 1))
    lower = places.astype(np.int64)
    return _Places(lower, np.minimum(lower + 1, size - 1), places - lower.astype(np.float32))


def _rounded(places: _Places, bits: int) -> _Places:
    return places._replace(share=np.rint(places.share.astype(np.float64) * 2**bits) / 2**bits)


def _whole(op: Operator, size: int, outputs: int) -> _Places:
    """In whole numbers of 1/1024, as LiteRT's own kernel has it."""
    corners = int(op.option("align_corners") and outputs > 1)
    step = (1024 * (size - corners) + (outputs - corners) // 2) // (outputs - corners)
    places = np.arange(outputs) * step + (step // 2 - 512 if op.option("half_pixel_centers") else 0)
    lower = np.maximum(np.trunc(places / 1024), 0).astype(np.int64)
    upper = np.minimum(np.trunc((places + 1023) / 1024), size - 1).astype(np.int64)
    return _Places(lower, upper, (places - 1024 * lower) / 1024)


def _resize_nearest_neighbor(op: Operator, kernels: KernelSet) -> Function:
    """The nearest pixel."""
    rows, columns = (
        _nearest(op, size, outputs) for size, outputs in zip(op.inputs[0].shape[1:3], op.output.shape[1:3], strict=True)
    )
    return lambda x, _: tf.gather(tf.gather(x, rows, axis=1), columns, axis=2)


def _nearest(op: Operator, size: int, outputs: int) -> np.ndarray:
    corners = int(op.option("align_corners") and outputs > 1)
    scale = np.float32(size - corners) / np.float32(outputs - corners)
    offset = np.float32(0.5 if op.option("half_pixel_centers") else 0)
    places = (np.arange(outputs, dtype=np.float32) + offset) * scale
    whole = np.floor(places + np.float32(0.5)) if op.option("align_corners") else np.floor(places)
    return np.clip(whole, 0, size - 1).astype(np.int64)


register(OperatorSpec(
    "RESIZE_BILINEAR", "dI -> d", _shape, "ResizeBilinearOptions", scratch=_neighbours, kernel=_resize_bilinear,
    keeps_integers=True,
))  # fmt: skip
register(OperatorSpec(
    "RESIZE_NEAREST_NEIGHBOR", "dI -> d", _shape, "ResizeNearestNeighborOptions", scratch=_neighbours,
    kernel=_resize_nearest_neighbor, keeps_integers=True,
))  # fmt: skip
