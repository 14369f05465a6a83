"""Changes of a tensor's type: QUANTIZE, DEQUANTIZE, CAST, and DENSIFY of sparse constants."""

import numpy as np
import tensorflow as tf

from tfharden.tflite.graph import Operator
from tfharden.tflite.kernels.kernel_set import Function, KernelSet, refuse
from tfharden.tflite.kernels.kernel_tables import function_of_values
from tfharden.tflite.kernels.straight_through import fixed, straight_through
from tfharden.tflite.ops.common import keeps_shape, same_shape
from tfharden.tflite.ops.spec import OperatorSpec, register


def _is_sparse(operator: Operator) -> bool:
    return bool(operator.inputs[0].sparsity) and keeps_shape(operator)


def _quantize(op: Operator, kernels: KernelSet) -> Function:
    """Real values to integers, or integers of one scale to those of another."""
    source, target = op.inputs[0], op.output
    if source.quantised:
        return function_of_values(op, kernels, lambda x: x)
    if source.element != "FLOAT32":
        raise refuse(op, f"it takes {source.element}")
    low, high = target.limits
    inverse = np.float32(1) / target.scale32

    def rounded(x: tf.Tensor) -> tf.Tensor:
        if not kernels.reference and target.element != "INT16":
            return tf.round(x * fixed(inverse))
        steps = x / fixed(target.scale32)
        # Halves away from zero, without the rounding that adding a half would bring.
        whole = tf.round(steps)
        return tf.where(tf.abs(steps - tf.floor(steps)) == 0.5, steps + 0.5 * tf.sign(steps), whole)  # noqa: PLR2004

    return lambda x: straight_through(
        lambda x: tf.clip_by_value(rounded(x), low, high), lambda x: x / target.scale32, x
    )


def _dequantize(op: Operator, kernels: KernelSet) -> Function:
    """Integers, or half precision, to real values."""
    source = op.inputs[0]
    if not source.quantised:
        return lambda x: x
    scales = source.along_axis(source.scales)
    return lambda x: x * fixed(scales)


def _cast(op: Operator, kernels: KernelSet) -> Function:
    """Whole numbers that say nothing of the image, and real ones that are half precise."""
    if op.inputs[0].whole and op.output.whole:
        return lambda x: x.astype(op.output.dtype)
    if op.inputs[0].dtype.kind == "f" and op.output.element == "FLOAT32":
        return lambda x: x
    raise refuse(op, f"from {op.inputs[0].element} to {op.output.element}")


def _densify(op: Operator, kernels: KernelSet) -> Function:
    """A sparse constant, which has been unpacked by the time it gets here."""
    if op.inputs[0].data is None:
        raise refuse(op, f"it unpacks {op.inputs[0].element}")
    return lambda x: x


register(OperatorSpec("QUANTIZE", "a -> d", same_shape, safety=keeps_shape, kernel=_quantize))
register(OperatorSpec("DEQUANTIZE", "q -> a", same_shape, safety=keeps_shape, kernel=_dequantize))
register(OperatorSpec(
    "CAST", "a -> a", same_shape, "CastOptions", safety=keeps_shape, values=lambda call: call.values[0], kernel=_cast
))  # fmt: skip
register(OperatorSpec("DENSIFY", "s -> a", same_shape, safety=_is_sparse, kernel=_densify))
