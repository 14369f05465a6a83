"""Sums, differences and products of integers of 16 bits, which both kernel sets leave to LiteRT's own kernels."""

import numpy as np
import tensorflow as tf

from tfharden.tflite.graph import Operator
from tfharden.tflite.kernels.fixed_point import DoubleRounding, OutputRange
from tfharden.tflite.kernels.kernel_set import Function, refuse

# Inputs are shifted left before they are brought to a common scale.
_SHIFT = 2.0**15


def combined(op: Operator) -> Function:
    """The exact function of two centred tensors.

    Raises:
        InputError: another operator than ADD, SUB or MUL.
    """
    if op.opcode == "MUL":
        return _product(op)
    if op.opcode in ("ADD", "SUB"):
        return _sum(op)
    raise refuse(op, "it takes INT16")


def _product(op: Operator) -> Function:
    first, second = op.inputs
    rounding, output_range = (
        DoubleRounding(np.float64(first.scale32 * second.scale32 / op.output.scale32)),
        OutputRange.of(op),
    )
    return lambda a, b: tf.cast(
        output_range.clip(rounding(tf.cast(a, tf.float64) * tf.cast(b, tf.float64))), tf.float32
    )


def _sum(op: Operator) -> Function:
    twice = np.float64(2 * max(tensor.scale32 for tensor in op.inputs))
    to_common = [DoubleRounding(np.float64(tensor.scale32) / twice) for tensor in op.inputs]
    rounding = DoubleRounding(twice / np.float64(np.float32(_SHIFT) * op.output.scale32))
    output_range, sign = OutputRange.of(op), -1.0 if op.opcode == "SUB" else 1.0

    def function(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        first, second = (scaled(_SHIFT * tf.cast(x, tf.float64)) for scaled, x in zip(to_common, (a, b), strict=True))
        return tf.cast(output_range.clip(rounding(first + sign * second)), tf.float32)

    return function
