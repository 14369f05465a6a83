"""Products of real data with integer weights ("dynamic range"): data are quantised on the fly, image by image."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfharden.tflite.graph import Operator
from tfharden.tflite.kernels import activations
from tfharden.tflite.kernels.kernel_set import Function, KernelSet, refuse
from tfharden.tflite.kernels.products import Product, sums_of
from tfharden.tflite.kernels.straight_through import fixed

_LOW, _HIGH = -128.0, 127.0

# From real data to centred whole numbers, and the scale that each image (or row) got.
Quantiser = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def quantised_on_the_fly(op: Operator, kernels: KernelSet, product: Product) -> Function:
    """The function of a product of real data and integer weights; the rounding of data is seen straight through."""
    weights = product.weights
    quantise = _quantiser(op, kernels, product)
    summed = sums_of(product, reach=_HIGH - _LOW)
    scales = weights.scales if len(weights.scales) > 1 else weights.scale32
    real = product.arranged(weights.centred * weights.along_axis(weights.scales))
    offset = np.float32(0) if product.bias is None else product.bias.centred
    activation = activations.fused(op)

    @tf.custom_gradient
    def linear(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        whole, steps = quantise(x)
        sums = tf.cast(summed(whole), tf.float32)
        return sums * (steps * fixed(scales)), lambda upstream: product.transposed(x, real, upstream)

    return lambda x, *_: activation(linear(x) + offset)


def _quantiser(op: Operator, kernels: KernelSet, product: Product) -> Quantiser:
    depthwise, single = op.opcode == "DEPTHWISE_CONV_2D", len(product.weights.scales) == 1
    if depthwise and single and product.weights.shape[-1] > 1:
        raise refuse(op, "LiteRT reads a scale for each channel where there is one, and answers nonsense")
    if not kernels.reference and not depthwise:
        # A convolution that sees one pixel at a time is a dense layer to XNNPACK, and pixels are its rows.
        height, width = product.weights.shape[1:3] if op.opcode == "CONV_2D" else (0, 0)
        dense = (height, width, op.option("stride_h"), op.option("stride_w")) == (1, 1, 1, 1)
        return functools.partial(_xnnpack, axes=[-1]) if dense else _xnnpack
    if op.opcode == "FULLY_CONNECTED":
        return _asymmetric if op.option("asymmetric_quantize_inputs") else _symmetric
    return _symmetric if single and op.opcode == "CONV_2D" else _asymmetric


def _xnnpack(x: tf.Tensor, axes: list[int] | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """XNNPACK's: 255 steps from the least to the greatest value or zero, halves to even."""
    least, most = _ends(x, axes)
    flat = most == least
    scale = tf.where(flat, 1.0, fixed(_HIGH - _LOW) / tf.where(flat, 1.0, most - least))
    low, high = _LOW + least * scale, _HIGH + most * scale
    zero = tf.round(tf.clip_by_value(tf.where(low + high > 0, _LOW - least * scale, _HIGH - most * scale), _LOW, _HIGH))
    whole = tf.clip_by_value(tf.round(x * scale), _LOW - zero, _HIGH - zero)
    return whole, fixed(1.0) / scale


def _asymmetric(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """LiteRT's own: as before, with scales in float64, and halves away from zero."""
    least, most = (tf.cast(end, tf.float64) for end in _ends(x))
    flat = most == least
    scale = tf.where(flat, tf.ones_like(most), (most - least) / fixed(_HIGH - _LOW, tf.float64))
    nearer = -_LOW + tf.abs(least / scale) < _HIGH + tf.abs(most / scale)
    zero = tf.clip_by_value(tf.where(nearer, _LOW - least / scale, _HIGH - most / scale), _LOW, _HIGH)
    zero = tf.cast(_away(zero), tf.float32)
    steps = tf.cast(scale, tf.float32)
    whole = tf.clip_by_value(_away(zero + x * (fixed(1.0) / steps)), _LOW, _HIGH) - zero
    return whole, steps


def _symmetric(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """LiteRT's own: 127 steps to the largest magnitude."""
    least, most = _ends(x)
    reach = tf.maximum(-least, most)
    reach = tf.where(reach == 0.0, fixed(_HIGH), reach)
    whole = tf.clip_by_value(_away(x * (fixed(_HIGH) / reach)), -_HIGH, _HIGH)
    return whole, reach / fixed(_HIGH)


def _ends(x: tf.Tensor, axes: list[int] | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """The least value or zero, and the greatest or zero, of each image or along some axes."""
    axes = axes or list(range(1, len(x.shape)))
    least = tf.minimum(tf.reduce_min(x, axis=axes, keepdims=True), 0.0)
    return least, tf.maximum(tf.reduce_max(x, axis=axes, keepdims=True), 0.0)


def _away(x: tf.Tensor) -> tf.Tensor:
    """Rounded, halves away from zero."""
    return tf.sign(x) * tf.floor(tf.abs(x) + 0.5)
