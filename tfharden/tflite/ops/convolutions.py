"""Convolutions: CONV_2D, DEPTHWISE_CONV_2D and TRANSPOSE_CONV."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfharden.tflite.graph import Operator, Shape, Tensor
from tfharden.tflite.kernels.kernel_set import Function, KernelSet, check_size, refuse
from tfharden.tflite.kernels.linear import linear
from tfharden.tflite.kernels.products import Product
from tfharden.tflite.ops import windows
from tfharden.tflite.ops.common import image_shape
from tfharden.tflite.ops.spec import Call, OperatorSpec, register


def _shape(call: Call) -> Shape:
    """Places of the window, and as many channels as there are filters."""
    data, weights = call.shapes[:2]
    dilation = call.option("dilation_h_factor"), call.option("dilation_w_factor")
    places = windows.output_sizes(call, weights[1:3], dilation)
    if call.operator.opcode == "DEPTHWISE_CONV_2D":
        fits, channels = weights[0] == 1 and weights[3] % data[3] == 0, weights[3]
    else:
        fits, channels = data[3] % weights[3] == 0 and weights[0] % (data[3] // weights[3]) == 0, weights[0]
    if not fits:
        raise ValueError("channels don't fit")
    return (data[0], *places, channels)


def _transposed_shape(call: Call) -> Shape:
    """What a convolution with these options makes the data of."""
    weights, (count, *sizes, channels) = call.shapes[1], image_shape(call.shapes[2])
    batch, *outputs, made = image_shape(tuple(call.whole(0)))
    padding, strides = call.option("padding"), (call.option("stride_h"), call.option("stride_w"))
    # The size is free only as far as the convolution back leads to the data.
    back = [windows.places(*axis, padding) for axis in zip(outputs, weights[1:3], strides, strict=True)]
    if (batch, made, channels, back) != (count, weights[0], weights[3], sizes):
        raise ValueError("it isn't the transpose of a convolution")
    return (batch, *outputs, made)


def _patches(call: Call, output: Shape, element_bytes: int) -> int:
    """Patches side by side (im2col), or pointers to their pixels."""
    window, channels = math.prod(call.shapes[1][1:3]), call.shapes[0][-1]
    return math.prod(output[:3]) * window * max(channels * element_bytes, windows.POINTER_BYTES)


def _spread(call: Call, output: Shape, _: int) -> int:
    """Products in 32 bits before they are summed up, or pointers to pixels."""
    window = math.prod(call.shapes[1][1:3])
    return window * max(4 * math.prod(call.shapes[2][:3]) * output[-1], windows.POINTER_BYTES * math.prod(output[:3]))


def _has_bias(operator: Operator) -> bool:
    return len(operator.inputs) == 3 and operator.inputs[2] is not None  # noqa: PLR2004 - data, weights, bias


def _multiply_adds(operator: Operator) -> int:
    """Each output is a product over the window and the input channels: weights are [out, height, width, in]."""
    return math.prod(operator.output.shape) * math.prod(operator.inputs[1].shape[1:])


def _depthwise_multiply_adds(operator: Operator) -> int:
    """Each output is a product over the window alone: weights are [1, height, width, out]."""
    return math.prod(operator.output.shape) * math.prod(operator.inputs[1].shape[1:3])


def _transposed_multiply_adds(operator: Operator) -> int:
    """Each input is spread over the window and the output channels: [out, height, width, in]."""
    _, weights, data = operator.inputs[:3]
    return math.prod(data.shape) * math.prod(weights.shape[:3])


def _conv_2d(op: Operator, kernels: KernelSet) -> Function:
    """Weights are [out, height, width, in]; with fewer `in` than the data have, channels go in groups."""
    data, weights, bias = _inputs(op)
    settings = _settings(op)
    groups = data.shape[-1] // weights.shape[-1]

    def convolved(x: tf.Tensor, kernel: np.ndarray) -> tf.Tensor:
        return tf.raw_ops.Conv2D(input=x, filter=kernel, **settings)

    def convolved_in_groups(x: tf.Tensor, kernel: np.ndarray) -> tf.Tensor:
        @tf.custom_gradient
        def function(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            return convolved(x, kernel), lambda upstream: transposed(x, kernel, upstream)

        return function(x)

    def transposed(x: tf.Tensor, kernel: np.ndarray, gradient: tf.Tensor) -> tf.Tensor:
        # Group by group: TensorFlow has no gradient of all of them on CPU.
        sizes = tf.concat([tf.shape(x)[:3], kernel.shape[2:3]], axis=0)
        parts = zip(np.split(kernel, groups, axis=3), tf.split(gradient, groups, axis=3), strict=True)
        return tf.concat([
            tf.raw_ops.Conv2DBackpropInput(input_sizes=sizes, filter=part, out_backprop=upstream, **settings)
            for part, upstream in parts
        ], axis=3)  # fmt: skip

    return linear(op, kernels, Product(
        data=data, weights=weights, bias=bias, axis=0,
        linear=convolved if groups == 1 else convolved_in_groups,
        transposed=transposed,
        arranged=lambda w: _dilated(np.transpose(w, [1, 2, 3, 0]), op),
    ))  # fmt: skip


def _depthwise_conv_2d(op: Operator, kernels: KernelSet) -> Function:
    """Weights are [1, height, width, channels * multiplier]."""
    data, weights, bias = _inputs(op)
    settings = _settings(op)
    channels = data.shape[-1]
    if settings["strides"][1] != settings["strides"][2]:
        raise refuse(op, "its strides differ")

    def transposed(x: tf.Tensor, kernel: np.ndarray, gradient: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
            input_sizes=tf.shape(x), filter=kernel, out_backprop=gradient, **settings
        )

    return linear(op, kernels, Product(
        data=data, weights=weights, bias=bias, axis=3,
        linear=lambda x, kernel: tf.raw_ops.DepthwiseConv2dNative(input=x, filter=kernel, **settings),
        transposed=transposed,
        arranged=lambda w: _dilated(np.reshape(w[0], [*w.shape[1:3], channels, w.shape[3] // channels]), op),
    ))  # fmt: skip


def _transpose_conv(op: Operator, kernels: KernelSet) -> Function:
    """Weights are [out, height, width, in]: each input is spread over a window of the output."""
    weights, data, bias = op.inputs[1], op.inputs[2], (*op.inputs, None)[3]
    settings = _settings(op)

    def spread(x: tf.Tensor, kernel: np.ndarray) -> tf.Tensor:
        sizes = tf.concat([tf.shape(x)[:1], op.output.shape[1:]], axis=0)
        return tf.raw_ops.Conv2DBackpropInput(input_sizes=sizes, filter=kernel, out_backprop=x, **settings)

    function = linear(op, kernels, Product(
        data=data, weights=weights, bias=bias, axis=0,
        linear=spread,
        transposed=lambda _, kernel, gradient: tf.raw_ops.Conv2D(input=gradient, filter=kernel, **settings),
        arranged=lambda w: np.transpose(w, [1, 2, 0, 3]),
    ))  # fmt: skip
    return lambda _, __, x, *___: function(x)


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


register(OperatorSpec(
    "CONV_2D", "dwb -> d", _shape, "Conv2DOptions", weights=(0, 4), scratch=_patches, multiply_adds=_multiply_adds,
    kernel=_conv_2d,
))  # fmt: skip
register(OperatorSpec(
    "DEPTHWISE_CONV_2D", "dwb -> d", _shape, "DepthwiseConv2DOptions", safety=_has_bias, weights=(3, 4),
    scratch=_patches, multiply_adds=_depthwise_multiply_adds, kernel=_depthwise_conv_2d,
))  # fmt: skip
register(OperatorSpec(
    "TRANSPOSE_CONV", "iwdb -> d", _transposed_shape, "TransposeConvOptions", weights=(0, 4), scratch=_spread,
    multiply_adds=_transposed_multiply_adds, kernel=_transpose_conv,
))  # fmt: skip
