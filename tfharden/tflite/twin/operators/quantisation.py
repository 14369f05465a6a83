"""QUANTIZE, DEQUANTIZE and CAST: between real values and integers."""

import numpy as np
import tensorflow as tf

from tfharden.tflite.twin.graph import Operator, Tensor
from tfharden.tflite.twin.operators import tables
from tfharden.tflite.twin.registry import Function, Kernels, operator, refuse
from tfharden.tflite.twin.straight_through import fixed, straight_through


def quantised(x: tf.Tensor, target: Tensor) -> tf.Tensor:
    """Real values as centred integers of `target`: clip(round(x / scale)), halves to even, straight through."""
    low, high = target.limits
    return straight_through(
        lambda x: tf.clip_by_value(tf.round(x / fixed(target.scale)), low, high), lambda x: x / target.scale, x
    )


@operator("QUANTIZE")
def quantize(op: Operator, kernels: Kernels) -> Function:
    """Real values to integers, or integers of one scale to those of another."""
    source, target = op.inputs[0], op.output
    if source.quantised:
        return tables.of_values(op, kernels, lambda x: x)
    if source.element != "FLOAT32":
        raise refuse(op, f"it takes {source.element}")
    low, high = target.limits
    inverse = np.float32(1) / target.scale

    def rounded(x: tf.Tensor) -> tf.Tensor:
        if not kernels.reference and target.element != "INT16":
            return tf.round(x * fixed(inverse))
        steps = x / fixed(target.scale)
        # Halves away from zero, without the rounding that adding a half would bring.
        whole = tf.round(steps)
        return tf.where(tf.abs(steps - tf.floor(steps)) == 0.5, steps + 0.5 * tf.sign(steps), whole)  # noqa: PLR2004

    return lambda x: straight_through(lambda x: tf.clip_by_value(rounded(x), low, high), lambda x: x / target.scale, x)


@operator("DEQUANTIZE")
def dequantize(op: Operator, kernels: Kernels) -> Function:
    """Integers, or half precision, to real values."""
    source = op.inputs[0]
    if not source.quantised:
        return lambda x: x
    scales = source.along_axis(source.scales)
    return lambda x: x * fixed(scales)


@operator("CAST")
def cast(op: Operator, kernels: Kernels) -> Function:
    """Whole numbers that say nothing of the image, and real ones that are half precise."""
    if op.inputs[0].whole and op.output.whole:
        return lambda x: x.astype(op.output.dtype)
    if op.inputs[0].dtype.kind == "f" and op.output.element == "FLOAT32":
        return lambda x: x
    raise refuse(op, f"from {op.inputs[0].element} to {op.output.element}")
