"""Matrix products: FULLY_CONNECTED and BATCH_MATMUL."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfharden.tflite.graph import Operator, Shape
from tfharden.tflite.kernels.fixed_point import DoubleRounding, OutputRange
from tfharden.tflite.kernels.kernel_set import Function, KernelSet, refuse
from tfharden.tflite.kernels.linear import linear
from tfharden.tflite.kernels.products import Product
from tfharden.tflite.kernels.straight_through import straight_through
from tfharden.tflite.ops.spec import Call, OperatorSpec, register


def _dense_shape(call: Call) -> Shape:
    data, (units, width) = call.shapes[:2]
    if math.prod(data) % width or (call.option("keep_num_dims") and data[-1] != width):
        raise ValueError("rows don't fit")
    return (*data[:-1], units) if call.option("keep_num_dims") else (math.prod(data) // width, units)


def _dense_multiply_adds(operator: Operator) -> int:
    """Weights are [out, in]."""
    return math.prod(operator.output.shape) * operator.inputs[1].shape[1]


def _fully_connected(op: Operator, kernels: KernelSet) -> Function:
    """Weights are [out, in]; data are rows of `in` values, whatever their shape."""
    data, weights, bias = (*op.inputs, None)[:3]
    width = weights.shape[1]
    if int(np.prod(data.shape)) // kernels.batch % width:
        raise refuse(op, "its rows run across the images of a batch")
    product = linear(op, kernels, Product(
        data=data, weights=weights, bias=bias, axis=0,
        linear=tf.matmul,
        transposed=lambda _, kernel, gradient: tf.matmul(gradient, kernel, transpose_b=True),
        arranged=np.transpose,
    ))  # fmt: skip

    def function(x: tf.Tensor, *_: Any) -> tf.Tensor:  # noqa: ANN401
        rows = product(tf.reshape(x, [-1, width]))
        return tf.reshape(rows, [tf.shape(x)[0], *op.output.shape[1:]]) if len(op.output.shape) != 2 else rows  # noqa: PLR2004

    return function


def _product_shape(call: Call) -> Shape:
    (*first, n, k), (*second, rows, m) = call.shapes
    n, k = (k, n) if call.option("adj_x") else (n, k)
    rows, m = (m, rows) if call.option("adj_y") else (rows, m)
    if k != rows:
        raise ValueError("matrices don't fit")
    return (*np.broadcast_shapes(tuple(first), tuple(second)), n, m)


def _product_multiply_adds(operator: Operator) -> int:
    """[..., n, k] by [..., k, m], where either may come transposed."""
    shared = operator.inputs[0].shape[-2:]
    return math.prod(operator.output.shape) * (shared[0 if operator.option("adj_x") else -1] if shared else 1)


def _batch_matmul(op: Operator, kernels: KernelSet) -> Function:
    """[..., n, k] by [..., k, m], where either may come transposed; of integers, those of 8 bits."""
    first, second = op.inputs
    if any(tensor.data is None and len(tensor.shape) < 3 for tensor in op.inputs):  # noqa: PLR2004
        raise refuse(op, "it mixes the images of a batch")
    turned = {"transpose_a": bool(op.option("adj_x")), "transpose_b": bool(op.option("adj_y"))}

    def product(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return tf.matmul(a, b, **turned)

    if {first.element, second.element} == {"FLOAT32"}:
        return product
    if {first.element, second.element} != {"INT8"} or len(second.scales) > 1:
        raise refuse(op, f"it takes {first.element} and {second.element}")
    factor = np.float64(first.scale32 * second.scale32) / np.float64(op.output.scale32)
    # XNNPACK leaves them to LiteRT.
    rounding = DoubleRounding(factor)
    output_range = OutputRange.of(op)

    def exact(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        sums = product(tf.cast(a, tf.float64), tf.cast(b, tf.float64))
        return output_range.clip(tf.cast(rounding(sums), tf.float32))

    return lambda a, b: straight_through(exact, lambda a, b: product(a, b) * np.float32(factor), a, b)


register(OperatorSpec(
    "FULLY_CONNECTED", "dwb -> d", _dense_shape, "FullyConnectedOptions", weights=(0, 2),
    multiply_adds=_dense_multiply_adds, kernel=_fully_connected,
))  # fmt: skip
register(OperatorSpec(
    "BATCH_MATMUL", "dw -> d", _product_shape, "BatchMatMulOptions", multiply_adds=_product_multiply_adds,
    kernel=_batch_matmul,
))  # fmt: skip
