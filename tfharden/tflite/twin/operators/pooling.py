"""AVERAGE_POOL_2D and MAX_POOL_2D."""

import numpy as np
import tensorflow as tf

from tfharden.tflite.twin.graph import Operator
from tfharden.tflite.twin.kernels import activations
from tfharden.tflite.twin.kernels.fixed_point import Range
from tfharden.tflite.twin.registry import Function, Kernels, operator
from tfharden.tflite.twin.straight_through import fixed, straight_through


@operator("MAX_POOL_2D")
def max_pool_2d(op: Operator, kernels: Kernels) -> Function:
    """The largest value of each window."""
    window, strides = _window(op)
    if not op.output.quantised:
        activation = activations.fused(op)
        return lambda x: activation(tf.nn.max_pool2d(x, window, strides, op.padding))
    range_ = Range.of(op)
    if range_ == Range(*op.output.limits):
        return lambda x: tf.nn.max_pool2d(x, window, strides, op.padding)
    return lambda x: range_.clip(tf.nn.max_pool2d(x, window, strides, op.padding))


@operator("AVERAGE_POOL_2D")
def average_pool_2d(op: Operator, kernels: Kernels) -> Function:
    """The mean of each window, without what lies outside the image."""
    window, strides = _window(op)

    def mean(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.avg_pool2d(x, window, strides, op.padding)

    if not op.output.quantised:
        activation = activations.fused(op)
        return lambda x: activation(mean(x))
    counts = _counts(op, window, strides)
    zero, range_ = op.output.zero_point, Range.of(op)

    def exact(x: tf.Tensor) -> tf.Tensor:
        # Kernels divide sums as stored, not centred; halves go away from zero.
        sums = tf.round(mean(x) * fixed(counts)) + zero * counts
        whole = tf.sign(sums) * tf.floor((tf.abs(sums) + np.floor(counts / 2)) / fixed(counts))
        return range_.clip(whole - zero)

    if range_.gate is None:
        return lambda x: straight_through(exact, mean, x)
    low, high = (float(end) for end in range_.gate)
    return lambda x: straight_through(exact, lambda x: tf.clip_by_value(mean(x), low, high), x)


def _window(op: Operator) -> tuple[list[int], list[int]]:
    return (
        [op.option("filter_height"), op.option("filter_width")],
        [op.option("stride_h"), op.option("stride_w")],
    )


def _counts(op: Operator, window: list[int], strides: list[int]) -> np.ndarray:
    """How many values of the image each window has, `[1, height, width, 1]`."""
    rows, columns = (
        _along(*axis, places)
        for *axis, places in zip(op.inputs[0].dims[1:3], window, strides, op.output.dims[1:3], strict=True)
    )
    return np.outer(rows, columns).astype(np.float32)[None, :, :, None]


def _along(size: int, window: int, stride: int, places: int) -> np.ndarray:
    """The same along one axis; what is missing lies on both sides alike, the odd one behind."""
    missing = max((places - 1) * stride + window - size, 0)
    first = np.arange(places) * stride - missing // 2
    return np.minimum(first + window, size) - np.maximum(first, 0)
