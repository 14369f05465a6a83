"""Reductions over axes: means, sums, extremes, their places, and cumulative sums."""

import math

import numpy as np
import tensorflow as tf

from tfharden.tflite.graph import Operator, Shape
from tfharden.tflite.kernels.fixed_point import DoubleRounding
from tfharden.tflite.kernels.kernel_set import Function, KernelSet, refuse
from tfharden.tflite.kernels.straight_through import fixed, straight_through
from tfharden.tflite.ops.common import same_shape, with_sizes
from tfharden.tflite.ops.spec import Call, OperatorSpec, register


def _shape(call: Call) -> Shape:
    axes = {call.axis(axis, len(call.shapes[0])) for axis in call.whole(1)}
    if call.option("keep_dims"):
        return tuple(1 if axis in axes else size for axis, size in enumerate(call.shapes[0]))
    return tuple(size for axis, size in enumerate(call.shapes[0]) if axis not in axes)


def _place_shape(call: Call) -> Shape:
    (number,) = call.whole(1)
    return with_sizes(call.shapes[0], call.axis(number, len(call.shapes[0])))


def _top_shape(call: Call) -> list[Shape]:
    (count,) = call.whole(1)
    if not 0 < count <= call.shapes[0][-1]:
        raise ValueError("there aren't as many")
    return [(*call.shapes[0][:-1], count)] * 2


def _mean(op: Operator, kernels: KernelSet) -> Function:
    """The mean or the sum over some axes, none of them the batch."""
    axes, keep = _axes(op)
    source, target = op.inputs[0], op.output
    smooth = tf.reduce_mean if op.opcode == "MEAN" else tf.reduce_sum
    if not source.quantised:
        return lambda x, *_: smooth(x, axis=axes, keepdims=keep)
    if op.opcode == "SUM" and kernels.reference and source.element != "UINT8":
        raise refuse(op, f"LiteRT's reference kernel reads {source.element} as UINT8 and answers nonsense")
    count = math.prod(source.shape[axis] for axis in axes)
    xnnpack = not kernels.reference and source.element != "INT16"
    rounded = _reduced_by_xnnpack(op, count) if xnnpack else _reduced(op, count)
    low, high = target.limits
    factor = float(source.scale32 / target.scale32)

    def exact(x: tf.Tensor) -> tf.Tensor:
        sums = tf.reduce_sum(tf.cast(x, tf.float64), axis=axes, keepdims=keep)
        return tf.cast(tf.clip_by_value(rounded(sums), low, high), tf.float32)

    return lambda x, *_: straight_through(exact, lambda x: smooth(x, axis=axes, keepdims=keep) * factor, x)


def _reduced(op: Operator, count: int) -> Function:
    """LiteRT's own way, with the multiplier of a mean taken from that of the sum."""
    factor = np.float64(op.inputs[0].scale32) / np.float64(op.output.scale32)
    return DoubleRounding(factor, count if op.opcode == "MEAN" else 1)


def _reduced_by_xnnpack(op: Operator, count: int) -> Function:
    """XNNPACK's: sums as stored times a factor in float32, plus a zero point that makes up for theirs."""
    source, target = op.inputs[0], op.output
    factor = source.scale32 / target.scale32
    if op.opcode == "MEAN":
        factor = factor * (np.float32(1) / np.float32(count))
    zero = np.float32(target.zero_point) - np.float32(count * source.zero_point) * factor

    def rounded(sums: tf.Tensor) -> tf.Tensor:
        stored = tf.cast(sums + float(count * source.zero_point), tf.float32)
        return tf.cast(tf.round(stored * fixed(factor) + fixed(zero)), tf.float64) - float(target.zero_point)

    return rounded


def _axes(op: Operator) -> tuple[list[int], bool]:
    """The axes that an operator reduces, and whether it keeps them.

    Raises:
        InputError: the batch is among them, or they aren't constant.
    """
    source = op.inputs[0]
    if op.inputs[1].data is None:
        raise refuse(op, "its axes aren't constant")
    axes = sorted({int(axis) % len(source.shape) for axis in op.inputs[1].data.reshape(-1)})
    if 0 in axes:
        raise refuse(op, "it mixes the images of a batch")
    return axes, bool(op.option("keep_dims"))


def _extreme(op: Operator, kernels: KernelSet) -> Function:
    """The largest or the least value over some axes, none of them the batch."""
    axes, keep = _axes(op)
    function = tf.reduce_max if op.opcode == "REDUCE_MAX" else tf.reduce_min
    return lambda x, *_: function(x, axis=axes, keepdims=keep)


for _name in ("MEAN", "SUM"):
    register(OperatorSpec(_name, "dI -> d", _shape, "ReducerOptions", kernel=_mean))
for _name in ("REDUCE_MAX", "REDUCE_MIN"):
    register(OperatorSpec(_name, "dI -> d", _shape, "ReducerOptions", kernel=_extreme, keeps_integers=True))
for _name in ("REDUCE_ALL", "REDUCE_ANY"):
    register(OperatorSpec(_name, "dI -> d", _shape, "ReducerOptions"))
register(OperatorSpec(
    "REDUCE_PROD", "dI -> d", _shape, "ReducerOptions",
    values=lambda call: np.prod(call.values[0], axis=tuple(call.whole(1))),
))  # fmt: skip
register(OperatorSpec("ARG_MAX", "dI -> i", _place_shape, "ArgMaxOptions"))
register(OperatorSpec("ARG_MIN", "dI -> i", _place_shape, "ArgMinOptions"))
register(OperatorSpec("CUMSUM", "dI -> d", same_shape, "CumsumOptions"))
register(OperatorSpec("TOPK_V2", "dI -> di", _top_shape))
