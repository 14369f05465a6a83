"""Operators on several tensors, value by value: arithmetic, comparisons, logic and selection."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfharden.tflite.graph import Operator, Shape, Tensor
from tfharden.tflite.kernels import activations, sixteen_bits
from tfharden.tflite.kernels.kernel_set import Function, KernelSet, per_image, refuse
from tfharden.tflite.kernels.kernel_tables import function_of_pairs
from tfharden.tflite.kernels.straight_through import straight_through
from tfharden.tflite.ops.common import SCALED, same_shape
from tfharden.tflite.ops.spec import Call, OperatorSpec, register

_FUNCTIONS = {
    "ADD": tf.add,
    "SUB": tf.subtract,
    "MUL": tf.multiply,
    "DIV": tf.divide,
    "MAXIMUM": tf.maximum,
    "MINIMUM": tf.minimum,
    "PRELU": lambda x, slope: tf.where(x >= 0.0, x, x * slope),
    "SQUARED_DIFFERENCE": tf.math.squared_difference,
}


def _broadcast(call: Call) -> Shape:
    return np.broadcast_shapes(*call.shapes)


def _largest_twice(operator: Operator) -> float:
    return 2 * max(tensor.scale for tensor in operator.inputs)


def _sum_fits(operator: Operator) -> bool:
    """Kernels shift sums left by 20 bits (15 for int16) and abort if the scale of the output needs more than that."""
    element, output = operator.inputs[0].element, operator.output
    return element not in SCALED or _largest_twice(operator) < 2 ** (15 if element == "INT16" else 20) * output.scale


def _difference_fits(operator: Operator) -> bool:
    """The kernel for differences knows factors above 1 and below, and aborts at 1."""
    ends = (2**15, 2**20)
    return operator.inputs[0].element not in SCALED or _largest_twice(operator) / operator.output.scale not in ends


def _squared_difference_fits(operator: Operator) -> bool:
    element, output = operator.inputs[0].element, operator.output
    return element not in SCALED or _largest_twice(operator) ** 2 < 2**14 * output.scale


def _binary(op: Operator, kernels: KernelSet) -> Function:
    """A function of two values, broadcast as the file has it, and its fused activation."""
    function = _paired(op, kernels)
    if all(tensor.data is not None for tensor in op.inputs):
        return function
    aligned = [_aligned(op, tensor, kernels) for tensor in op.inputs]
    return lambda a, b: function(aligned[0](a), aligned[1](b))


def _paired(op: Operator, kernels: KernelSet) -> Function:
    function, activation = _FUNCTIONS[op.opcode], activations.fused(op)
    (first, second), output = op.inputs, op.output
    if not output.quantised:
        return lambda a, b: activation(function(a, b))
    if op.opcode in ("MAXIMUM", "MINIMUM") and _alike(first, output) and _alike(second, output):
        return function

    def smooth(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return activation(function(a * first.scale32, b * second.scale32)) / output.scale32

    small = first.dtype.itemsize == second.dtype.itemsize == 1
    exact = function_of_pairs(op, kernels) if small else sixteen_bits.combined(op)
    return lambda a, b: straight_through(exact, smooth, a, b)


def _alike(first: Tensor, second: Tensor) -> bool:
    return first.scale32 == second.scale32 and first.zero_point == second.zero_point


def _aligned(op: Operator, tensor: Tensor, kernels: KernelSet) -> Callable[[tf.Tensor], tf.Tensor]:
    """Puts the axes of an image behind the batch axis, also where the file lacks that."""
    if tensor.data is not None:
        return lambda x: x
    image, made = per_image(tensor, kernels), per_image(op.output, kernels)
    if image is None or made is None:
        raise refuse(op, "it mixes the images of a batch")
    rank = len(made)
    if len(image) == rank:
        return lambda x: x
    return lambda x: tf.reshape(x, [tf.shape(x)[0], *[1] * (rank - len(image)), *image])


def _arithmetic(name: str, options: str = "", function: Callable[..., Any] | None = None, **rules: Any) -> None:  # noqa: ANN401
    """An operator on two tensors of data; `function` is what it makes of whole numbers."""
    values = None if function is None else lambda call: function(*call.values)
    kernel = _binary if name in _FUNCTIONS else None
    register(OperatorSpec(name, "dd -> d", _broadcast, options, values=values, kernel=kernel, **rules))


_arithmetic("ADD", "AddOptions", np.add, safety=_sum_fits)
_arithmetic("ATAN2")
_arithmetic("DIV", "DivOptions")
_arithmetic("FLOOR_DIV", function=np.floor_divide)
_arithmetic("FLOOR_MOD")
_arithmetic("MAXIMUM", function=np.maximum)
_arithmetic("MINIMUM", function=np.minimum)
_arithmetic("MUL", "MulOptions", np.multiply)
_arithmetic("POW")
_arithmetic("PRELU")
_arithmetic("SQUARED_DIFFERENCE", safety=_squared_difference_fits)
_arithmetic("SUB", "SubOptions", np.subtract, safety=_difference_fits)
register(OperatorSpec("ADD_N", "d* -> d", same_shape))
for _name in ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL"):
    register(OperatorSpec(_name, "dd -> m", _broadcast))
for _name in ("LOGICAL_AND", "LOGICAL_OR"):
    register(OperatorSpec(_name, "mm -> m", _broadcast))
register(OperatorSpec("LOGICAL_NOT", "m -> m", same_shape))
register(OperatorSpec("SELECT", "mdd -> d", lambda call: call.shapes[1]))
register(OperatorSpec("SELECT_V2", "mdd -> d", _broadcast))
