"""Operators on two tensors, value by value."""

from collections.abc import Callable

import tensorflow as tf

from tfharden.tflite.twin.graph import Operator, Tensor
from tfharden.tflite.twin.kernels import activations, sixteen_bits
from tfharden.tflite.twin.operators import tables
from tfharden.tflite.twin.registry import Function, Kernels, operator, per_image
from tfharden.tflite.twin.straight_through import straight_through

FUNCTIONS = {
    "ADD": tf.add,
    "SUB": tf.subtract,
    "MUL": tf.multiply,
    "DIV": tf.divide,
    "MAXIMUM": tf.maximum,
    "MINIMUM": tf.minimum,
    "PRELU": lambda x, slope: tf.where(x >= 0.0, x, x * slope),
    "SQUARED_DIFFERENCE": tf.math.squared_difference,
}


@operator(*FUNCTIONS)
def binary(op: Operator, kernels: Kernels) -> Function:
    """A function of two values, broadcast as the file has it, and its fused activation."""
    function = _paired(op, kernels)
    if all(tensor.data is not None for tensor in op.inputs):
        return function
    aligned = [_aligned(tensor, op.output, kernels) for tensor in op.inputs]
    return lambda a, b: function(aligned[0](a), aligned[1](b))


def _paired(op: Operator, kernels: Kernels) -> Function:
    function, activation = FUNCTIONS[op.opcode], activations.fused(op)
    (first, second), output = op.inputs, op.output
    if not output.quantised:
        return lambda a, b: activation(function(a, b))
    if op.opcode in ("MAXIMUM", "MINIMUM") and _alike(first, output) and _alike(second, output):
        return function

    def smooth(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return activation(function(a * first.scale, b * second.scale)) / output.scale

    small = first.dtype.itemsize == second.dtype.itemsize == 1
    exact = tables.of_pairs(op, kernels) if small else sixteen_bits.combined(op)
    return lambda a, b: straight_through(exact, smooth, a, b)


def _alike(first: Tensor, second: Tensor) -> bool:
    return first.scale == second.scale and first.zero_point == second.zero_point


def _aligned(tensor: Tensor, output: Tensor, kernels: Kernels) -> Callable[[tf.Tensor], tf.Tensor]:
    """Puts the axes of an image behind the batch axis, also where the file lacks that."""
    if tensor.data is not None:
        return lambda x: x
    image, rank = per_image(tensor, kernels), len(per_image(output, kernels))
    if len(image) == rank:
        return lambda x: x
    return lambda x: tf.reshape(x, [tf.shape(x)[0], *[1] * (rank - len(image)), *image])
