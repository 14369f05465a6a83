"""MEAN, SUM, REDUCE_MAX and REDUCE_MIN."""

import math

import numpy as np
import tensorflow as tf

from tfharden.tflite.twin.graph import Operator
from tfharden.tflite.twin.kernels.fixed_point import DoubleRounding
from tfharden.tflite.twin.registry import Function, Kernels, operator, refuse
from tfharden.tflite.twin.straight_through import fixed, straight_through


@operator("MEAN", "SUM")
def mean(op: Operator, kernels: Kernels) -> Function:
    """The mean or the sum over some axes, none of them the batch."""
    axes, keep = reduced(op)
    source, target = op.inputs[0], op.output
    smooth = tf.reduce_mean if op.opcode == "MEAN" else tf.reduce_sum
    if not source.quantised:
        return lambda x, *_: smooth(x, axis=axes, keepdims=keep)
    if op.opcode == "SUM" and kernels.reference and source.element != "UINT8":
        raise refuse(op, f"LiteRT's reference kernel reads {source.element} as UINT8 and answers nonsense")
    count = math.prod(source.dims[axis] for axis in axes)
    xnnpack = not kernels.reference and source.element != "INT16"
    rounded = _reduced_by_xnnpack(op, count) if xnnpack else _reduced(op, count)
    low, high = target.limits
    factor = float(source.scale / target.scale)

    def exact(x: tf.Tensor) -> tf.Tensor:
        sums = tf.reduce_sum(tf.cast(x, tf.float64), axis=axes, keepdims=keep)
        return tf.cast(tf.clip_by_value(rounded(sums), low, high), tf.float32)

    return lambda x, *_: straight_through(exact, lambda x: smooth(x, axis=axes, keepdims=keep) * factor, x)


def _reduced(op: Operator, count: int) -> Function:
    """LiteRT's own way, with the multiplier of a mean taken from that of the sum."""
    factor = np.float64(op.inputs[0].scale) / np.float64(op.output.scale)
    return DoubleRounding(factor, count if op.opcode == "MEAN" else 1)


def _reduced_by_xnnpack(op: Operator, count: int) -> Function:
    """XNNPACK's: sums as stored times a factor in float32, plus a zero point that makes up for theirs."""
    source, target = op.inputs[0], op.output
    factor = source.scale / target.scale
    if op.opcode == "MEAN":
        factor = factor * (np.float32(1) / np.float32(count))
    zero = np.float32(target.zero_point) - np.float32(count * source.zero_point) * factor

    def rounded(sums: tf.Tensor) -> tf.Tensor:
        stored = tf.cast(sums + float(count * source.zero_point), tf.float32)
        return tf.cast(tf.round(stored * fixed(factor) + fixed(zero)), tf.float64) - float(target.zero_point)

    return rounded


def reduced(op: Operator) -> tuple[list[int], bool]:
    """The axes that an operator reduces, and whether it keeps them.

    Raises:
        InputError: the batch is among them, or they aren't constant.
    """
    source = op.inputs[0]
    if op.inputs[1].data is None:
        raise refuse(op, "its axes aren't constant")
    axes = sorted({int(axis) % len(source.dims) for axis in op.inputs[1].data.reshape(-1)})
    if 0 in axes:
        raise refuse(op, "it mixes the images of a batch")
    return axes, bool(op.option("keep_dims"))


@operator("REDUCE_MAX", "REDUCE_MIN")
def extreme(op: Operator, kernels: Kernels) -> Function:
    """The largest or the least value over some axes, none of them the batch."""
    axes, keep = reduced(op)
    function = tf.reduce_max if op.opcode == "REDUCE_MAX" else tf.reduce_min
    return lambda x, *_: function(x, axis=axes, keepdims=keep)
