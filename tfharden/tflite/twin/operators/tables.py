"""Operators that treat each value by itself: on integers of 8 or 16 bits they are tables."""

import numpy as np
import tensorflow as tf

from tfharden.tflite.twin.graph import Operator, Tensor
from tfharden.tflite.twin.kernels import activations
from tfharden.tflite.twin.kernels.kernel_tables import answers
from tfharden.tflite.twin.registry import Function, Kernels, operator
from tfharden.tflite.twin.straight_through import straight_through


@operator(*activations.FUNCTIONS, "GELU", "LEAKY_RELU")
def unary(op: Operator, kernels: Kernels) -> Function:
    """A function of each value."""
    return of_values(op, kernels, activations.of(op))


def of_values(op: Operator, kernels: Kernels, function: activations.Activation) -> Function:
    """A function of one real value, as the kernels have it."""
    source, target = op.inputs[0], op.output
    if not source.quantised:
        return function
    table = tf.constant(centred(answers(op, kernels, {0: every(source)[None]})[0], target))
    low, _ = source.limits

    def exact(x: tf.Tensor) -> tf.Tensor:
        return tf.gather(table, tf.cast(x - low, tf.int32))

    return lambda x: straight_through(exact, lambda x: function(x * source.scale) / target.scale, x)


def of_pairs(op: Operator, kernels: Kernels) -> Function:
    """The exact function of two centred tensors of 8 bits, as the kernels have it."""
    first, second = op.inputs
    pairs = {0: np.repeat(every(first), 256), 1: np.tile(every(second), 256)}
    if op.opcode == "DIV":
        # LiteRT refuses to divide by zero.
        pairs[1][pairs[1] == second.zero_point] = every(second)[0 if second.limits[0] else 1]
    table = tf.constant(centred(answers(op, kernels, {k: v[None] for k, v in pairs.items()})[0], op.output))
    offset = 256 * first.limits[0] + second.limits[0]
    return lambda a, b: tf.gather(table, tf.cast(256 * a + (b - offset), tf.int32))


def every(tensor: Tensor) -> np.ndarray:
    """All values that a tensor can hold, as stored, in order."""
    bounds = np.iinfo(tensor.dtype)
    return np.arange(bounds.min, bounds.max + 1).astype(tensor.dtype)


def centred(stored: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Stored integers as the twin has them."""
    return (stored.astype(np.int32) - tensor.zero_point).astype(np.float32)
