"""Pools: AVERAGE_POOL_2D, L2_POOL_2D and MAX_POOL_2D."""

import math

import numpy as np
import tensorflow as tf

from tfharden.tflite.graph import Operator, Shape
from tfharden.tflite.kernels import activations
from tfharden.tflite.kernels.fixed_point import OutputRange
from tfharden.tflite.kernels.kernel_set import Function, KernelSet
from tfharden.tflite.kernels.straight_through import fixed, straight_through
from tfharden.tflite.ops import windows
from tfharden.tflite.ops.common import image_shape
from tfharden.tflite.ops.spec import Call, Kernel, OperatorSpec, register


def _shape(call: Call) -> Shape:
    """Places of the window."""
    data = image_shape(call.shapes[0])
    return (data[0], *windows.output_sizes(call, (call.option("filter_height"), call.option("filter_width"))), data[3])


def _pointers(call: Call, output: Shape, _: int) -> int:
    """Pointers to the pixels of each window."""
    window = call.option("filter_height") * call.option("filter_width")
    return math.prod(output[:3]) * window * windows.POINTER_BYTES


def _max_pool_2d(op: Operator, kernels: KernelSet) -> Function:
    """The largest value of each window."""
    window, strides = _window(op)
    if not op.output.quantised:
        activation = activations.fused(op)
        return lambda x: activation(tf.nn.max_pool2d(x, window, strides, op.padding))
    output_range = OutputRange.of(op)
    if output_range == OutputRange(*op.output.limits):
        return lambda x: tf.nn.max_pool2d(x, window, strides, op.padding)
    return lambda x: output_range.clip(tf.nn.max_pool2d(x, window, strides, op.padding))


def _average_pool_2d(op: Operator, kernels: KernelSet) -> Function:
    """The mean of each window, without what lies outside the image."""
    window, strides = _window(op)

    def mean(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.avg_pool2d(x, window, strides, op.padding)

    if not op.output.quantised:
        activation = activations.fused(op)
        return lambda x: activation(mean(x))
    counts = _counts(op, window, strides)
    zero, output_range = op.output.zero_point, OutputRange.of(op)

    def exact(x: tf.Tensor) -> tf.Tensor:
        # Kernels divide sums as stored, not centred; halves go away from zero.
        sums = tf.round(mean(x) * fixed(counts)) + zero * counts
        whole = tf.sign(sums) * tf.floor((tf.abs(sums) + np.floor(counts / 2)) / fixed(counts))
        return output_range.clip(whole - zero)

    if output_range.gate is None:
        return lambda x: straight_through(exact, mean, x)
    low, high = (float(end) for end in output_range.gate)
    return lambda x: straight_through(exact, lambda x: tf.clip_by_value(mean(x), low, high), x)


def _window(op: Operator) -> tuple[list[int], list[int]]:
    return (
        [op.option("filter_height"), op.option("filter_width")],
        [op.option("stride_h"), op.option("stride_w")],
    )


def _counts(op: Operator, window: list[int], strides: list[int]) -> np.ndarray:
    """How many values of the image each window has, `[1, height, width, 1]`."""
    rows, columns = (
        _along(size, reach, stride, places)
        for size, reach, stride, places in zip(
            op.inputs[0].shape[1:3], window, strides, op.output.shape[1:3], strict=True
        )
    )
    return np.outer(rows, columns).astype(np.float32)[None, :, :, None]


def _along(size: int, window: int, stride: int, places: int) -> np.ndarray:
    """The same along one axis; what is missing lies on both sides alike, the odd one behind."""
    missing = max((places - 1) * stride + window - size, 0)
    first = np.arange(places) * stride - missing // 2
    return np.minimum(first + window, size) - np.maximum(first, 0)


_KERNELS: dict[str, Kernel] = {"AVERAGE_POOL_2D": _average_pool_2d, "MAX_POOL_2D": _max_pool_2d}
for _name, _kernel in _KERNELS.items():
    register(OperatorSpec(
        _name, "d -> d", _shape, "Pool2DOptions", scratch=_pointers, kernel=_kernel, keeps_integers=True
    ))  # fmt: skip
register(OperatorSpec("L2_POOL_2D", "d -> d", _shape, "Pool2DOptions", scratch=_pointers))
