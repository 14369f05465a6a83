"""SOFTMAX and LOG_SOFTMAX."""

import math

import numpy as np
import tensorflow as tf

from tfharden.tflite.twin.graph import Operator
from tfharden.tflite.twin.kernels import fixed_softmax
from tfharden.tflite.twin.registry import Function, Kernels, operator, refuse
from tfharden.tflite.twin.straight_through import fixed, straight_through


@operator("SOFTMAX")
def softmax(op: Operator, kernels: Kernels) -> Function:
    """exp(beta x) over the last axis, divided by its sum."""
    beta = op.option("beta")
    if not op.output.quantised:
        return lambda x: tf.nn.softmax(beta * x)
    source, target = op.inputs[0], op.output
    if source.element == "INT16":
        exact = fixed_softmax.of_16_bits(op)
    else:
        exact = fixed_softmax.of_8_bits(op) if kernels.reference else _float(op)
    slope = float(beta * source.scale)
    return lambda x: straight_through(exact, lambda x: tf.nn.softmax(slope * x) / target.scale, x)


@operator("LOG_SOFTMAX")
def log_softmax(op: Operator, kernels: Kernels) -> Function:
    """The logarithm of the softmax over the last axis, in real numbers."""
    if op.output.quantised:
        raise refuse(op, f"it takes {op.output.element}")
    return tf.nn.log_softmax


def _float(op: Operator) -> Function:
    """LiteRT's optimised kernel for 8 bits: exponentials from a table, in float32."""
    source, target = op.inputs[0], op.output
    slope = -source.scale * np.float32(op.option("beta"))
    table = np.array([math.exp(slope * np.float32(step)) for step in range(256)], np.float32)
    low, high = target.limits

    def exact(x: tf.Tensor) -> tf.Tensor:
        below = tf.cast(tf.reduce_max(x, axis=-1, keepdims=True) - x, tf.int32)
        powers = tf.gather(table, below)
        # One after the other, as the kernel adds them.
        total = tf.cumsum(powers, axis=-1)[..., -1:]
        return tf.clip_by_value(tf.floor(powers * (1.0 / (total * fixed(target.scale))) + 0.5), low, high)

    return exact
