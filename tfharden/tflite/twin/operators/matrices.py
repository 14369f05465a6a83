"""BATCH_MATMUL."""

import numpy as np
import tensorflow as tf

from tfharden.tflite.twin.graph import Operator
from tfharden.tflite.twin.kernels.fixed_point import DoubleRounding, Range
from tfharden.tflite.twin.registry import Function, Kernels, operator, refuse
from tfharden.tflite.twin.straight_through import straight_through


@operator("BATCH_MATMUL")
def batch_matmul(op: Operator, kernels: Kernels) -> Function:
    """[..., n, k] by [..., k, m], where either may come transposed; of integers, those of 8 bits."""
    first, second = op.inputs
    if any(tensor.data is None and len(tensor.dims) < 3 for tensor in op.inputs):  # noqa: PLR2004
        raise refuse(op, "it mixes the images of a batch")
    turned = {"transpose_a": bool(op.option("adj_x")), "transpose_b": bool(op.option("adj_y"))}

    def product(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return tf.matmul(a, b, **turned)

    if {first.element, second.element} == {"FLOAT32"}:
        return product
    if {first.element, second.element} != {"INT8"} or len(second.scales) > 1:
        raise refuse(op, f"it takes {first.element} and {second.element}")
    factor = np.float64(first.scale * second.scale) / np.float64(op.output.scale)
    # XNNPACK leaves them to LiteRT.
    rounding = DoubleRounding(factor)
    range_ = Range.of(op)

    def exact(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        sums = product(tf.cast(a, tf.float64), tf.cast(b, tf.float64))
        return range_.clip(tf.cast(rounding(sums), tf.float32))

    return lambda a, b: straight_through(exact, lambda a, b: product(a, b) * np.float32(factor), a, b)
