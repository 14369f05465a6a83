"""Functions of single values. On integers of 8 or 16 bits the twin has them as tables."""

from tfharden.tflite.graph import Operator
from tfharden.tflite.kernels import activations
from tfharden.tflite.kernels.kernel_set import Function, KernelSet
from tfharden.tflite.kernels.kernel_tables import function_of_values
from tfharden.tflite.ops.common import same_shape
from tfharden.tflite.ops.spec import OperatorSpec, register

_WITH_OPTIONS = {"GELU": "GeluOptions", "LEAKY_RELU": "LeakyReluOptions"}
_WITHOUT_KERNEL = ("CEIL", "COS", "FLOOR", "ROUND", "SIGN", "SIN", "ZEROS_LIKE")


def _unary(op: Operator, kernels: KernelSet) -> Function:
    """A function of each value."""
    return function_of_values(op, kernels, activations.of(op))


for _name in (*activations.FUNCTIONS, *_WITH_OPTIONS):
    register(OperatorSpec(_name, "d -> d", same_shape, _WITH_OPTIONS.get(_name, ""), kernel=_unary))
for _name in _WITHOUT_KERNEL:
    register(OperatorSpec(_name, "d -> d", same_shape))
