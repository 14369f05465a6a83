"""CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV and FULLY_CONNECTED."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfharden.tflite.twin.graph import Operator, Tensor
from tfharden.tflite.twin.kernels import activations, hybrid
from tfharden.tflite.twin.kernels.products import Product, quantised
from tfharden.tflite.twin.registry import Function, Kernels, check_size, operator, refuse


@operator("CONV_2D")
def conv_2d(op: Operator, kernels: Kernels) -> Function:
    """Weights are [out, height, width, in]; with fewer `in` than the data have, channels go in groups."""
    data, weights, bias = _inputs(op)
    settings = _settings(op)

    def transposed(x: tf.Tensor, kernel: np.ndarray, gradient: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(x), filter=kernel, out_backprop=gradient, **settings)

    return _product(op, kernels, Product(
        data=data, weights=weights, bias=bias, axis=0,
        linear=lambda x, kernel: tf.raw_ops.Conv2D(input=x, filter=kernel, **settings),
        transposed=transposed,
        arranged=lambda w: _dilated(np.transpose(w, [1, 2, 3, 0]), op),
    ))  # fmt: skip


@operator("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(op: Operator, kernels: Kernels) -> Function:
    """Weights are [1, height, width, channels * multiplier]."""
    data, weights, bias = _inputs(op)
    settings = _settings(op)
    channels = data.dims[-1]
    if settings["strides"][1] != settings["strides"][2]:
        raise refuse(op, "its strides differ")

    def transposed(x: tf.Tensor, kernel: np.ndarray, gradient: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
            input_sizes=tf.shape(x), filter=kernel, out_backprop=gradient, **settings
        )

    return _product(op, kernels, Product(
        data=data, weights=weights, bias=bias, axis=3,
        linear=lambda x, kernel: tf.raw_ops.DepthwiseConv2dNative(input=x, filter=kernel, **settings),
        transposed=transposed,
        arranged=lambda w: _dilated(np.reshape(w[0], [*w.shape[1:3], channels, w.shape[3] // channels]), op),
    ))  # fmt: skip


@operator("TRANSPOSE_CONV")
def transpose_conv(op: Operator, kernels: Kernels) -> Function:
    """Weights are [out, height, width, in]: each input is spread over a window of the output."""
    weights, data, bias = op.inputs[1], op.inputs[2], (*op.inputs, None)[3]
    settings = _settings(op)

    def linear(x: tf.Tensor, kernel: np.ndarray) -> tf.Tensor:
        sizes = tf.concat([tf.shape(x)[:1], op.output.dims[1:]], axis=0)
        return tf.raw_ops.Conv2DBackpropInput(input_sizes=sizes, filter=kernel, out_backprop=x, **settings)

    function = _product(op, kernels, Product(
        data=data, weights=weights, bias=bias, axis=0,
        linear=linear,
        transposed=lambda _, kernel, gradient: tf.raw_ops.Conv2D(input=gradient, filter=kernel, **settings),
        arranged=lambda w: np.transpose(w, [1, 2, 0, 3]),
    ))  # fmt: skip
    return lambda _, __, x, *___: function(x)


@operator("FULLY_CONNECTED")
def fully_connected(op: Operator, kernels: Kernels) -> Function:
    """Weights are [out, in]; data are rows of `in` values, whatever their shape."""
    data, weights, bias = _inputs(op)
    width = weights.dims[1]
    if int(np.prod(data.dims)) // kernels.batch % width:
        raise refuse(op, "its rows run across the images of a batch")
    product = _product(op, kernels, Product(
        data=data, weights=weights, bias=bias, axis=0,
        linear=tf.matmul,
        transposed=lambda _, kernel, gradient: tf.matmul(gradient, kernel, transpose_b=True),
        arranged=np.transpose,
    ))  # fmt: skip

    def function(x: tf.Tensor, *_: Any) -> tf.Tensor:  # noqa: ANN401
        rows = product(tf.reshape(x, [-1, width]))
        return tf.reshape(rows, [tf.shape(x)[0], *op.output.dims[1:]]) if len(op.output.dims) != 2 else rows  # noqa: PLR2004

    return function


def _product(op: Operator, kernels: Kernels, product: Product) -> Callable[..., tf.Tensor]:
    """By the types of data and weights: in whole numbers, in real ones, or with data quantised on the fly."""
    if product.weights.data is None or (product.bias is not None and product.bias.data is None):
        raise refuse(op, "its weights aren't constant")
    if product.data.quantised and product.weights.quantised:
        return quantised(op, kernels, product)
    if product.weights.quantised:
        return hybrid.quantised_on_the_fly(op, kernels, product)
    kernel = product.arranged(product.weights.centred)
    offset = 0.0 if product.bias is None else product.bias.centred
    activation = activations.fused(op)
    return lambda x, *_: activation(product.linear(x, kernel) + offset)


def _inputs(op: Operator) -> tuple[Tensor, Tensor, Tensor | None]:
    data, weights, bias = (*op.inputs, None)[:3]
    return data, weights, bias


def _settings(op: Operator) -> dict[str, Any]:
    return {"strides": [1, op.option("stride_h"), op.option("stride_w"), 1], "padding": op.padding}


def _dilated(kernel: np.ndarray, op: Operator) -> np.ndarray:
    """With zeros in the gaps: TensorFlow has no gradient for dilated convolutions on CPU."""
    steps = op.option("dilation_h_factor", 1), op.option("dilation_w_factor", 1)
    sizes = [(size - 1) * step + 1 for size, step in zip(kernel.shape[:2], steps, strict=True)]
    check_size(op, [*sizes, *kernel.shape[2:]])
    spread = np.zeros([*sizes, *kernel.shape[2:]], kernel.dtype)
    spread[:: steps[0], :: steps[1]] = kernel
    return spread
