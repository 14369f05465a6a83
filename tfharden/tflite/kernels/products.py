"""Convolutions and matrix products in whole numbers, exact in float32."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfharden.tflite.graph import Operator, Tensor
from tfharden.tflite.kernels.fixed_point import (
    Double,
    DoubleRounding,
    Float,
    OutputRange,
    Rounding,
    ShortMultiplier,
    gated,
)
from tfharden.tflite.kernels.kernel_set import Function, KernelSet

# float32 holds all whole numbers up to here.
EXACT = 2**24


@dataclasses.dataclass(frozen=True, eq=False)
class Product:
    """What is linear in its data: a convolution or a matrix product.

    Attributes:
        data: the input.
        weights: constant.
        bias: constant, or None.
        axis: output channels of the weights, as the file has them.
        linear: data `[n, ...]` and arranged weights to sums, whose last axis is the output channels.
        transposed: data, of which only the shape counts, arranged weights and the gradient of the sums, to that of the
            data.
        arranged: weights as TensorFlow has them, from those of the file.
    """

    data: Tensor
    weights: Tensor
    bias: Tensor | None
    axis: int
    linear: Callable[[tf.Tensor, np.ndarray], tf.Tensor]
    transposed: Callable[[tf.Tensor, np.ndarray, tf.Tensor], tf.Tensor]
    arranged: Callable[[np.ndarray], np.ndarray]


def quantised(operator: Operator, kernels: KernelSet, product: Product) -> Function:
    """The function of a product of integers: sums in whole numbers, requantised as the kernels do."""
    factors = _factors(operator, kernels, product)
    output_range = OutputRange.of(operator)
    rounding = _rounding(operator, kernels, product, factors, output_range)
    summed = sums_of(product, float(max(map(abs, product.data.limits))))
    whole = product.weights.centred
    shape = [-1 if axis == product.axis else 1 for axis in range(whole.ndim)]
    real = product.arranged(whole * factors.astype(np.float32).reshape(shape))

    @tf.custom_gradient
    def function(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        sums = summed(x)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return product.transposed(x, real, gated(upstream, sums, factors, output_range))

        return output_range.clip(tf.cast(rounding(sums), tf.float32)), gradient

    return lambda x, *_: function(x)


def sums_of(product: Product, reach: float) -> Callable[[tf.Tensor], tf.Tensor]:
    """Exact sums of whole data up to `reach` in size, with the bias where that is whole, in float32 if it holds them.

    Data are taken apart into parts of so few bits that float32 holds the sums over each part.
    """
    whole = product.weights.centred
    channels = whole.shape[product.axis]
    largest = np.abs(np.moveaxis(whole, product.axis, 0)).reshape(channels, -1).sum(axis=1, dtype=np.float64)
    offset = np.zeros(channels)
    if product.bias is not None and product.bias.dtype.kind == "i":
        offset = product.bias.data.astype(np.float64)
    split = _split(float(largest.max()), reach)
    kind = tf.float64 if len(split) > 1 or np.max(largest * reach + np.abs(offset)) >= EXACT else tf.float32
    kernel = product.arranged(whole)

    def summed(x: tf.Tensor) -> tf.Tensor:
        total, weight = tf.constant(offset, kind), 1.0
        for bits in split[:-1]:
            base = float(2**bits)
            above = tf.floor(x / base)
            total += weight * tf.cast(product.linear(x - above * base, kernel), kind)
            x, weight = above, weight * base
        return total + weight * tf.cast(product.linear(x, kernel), kind)

    return summed


def _split(largest: float, reach: float) -> tuple[int, ...]:
    """Bits of the parts of data, from the lowest up."""
    if largest * reach < EXACT:
        return (0,)
    width = math.ceil(math.log2(reach + 1))
    parts = next(count for count in range(2, width + 1) if count == width or largest * 2 ** -(-width // count) < EXACT)
    return (-(-width // parts),) * parts


def _factors(operator: Operator, kernels: KernelSet, product: Product) -> np.ndarray:
    """What sums are multiplied by, one for all channels or one for each."""
    data, weights = product.data, product.weights
    if kernels.reference or data.element == "INT16":
        # Where LiteRT has one factor for all channels, it multiplies the scales in float32.
        kind = np.float32 if data.element == "UINT8" and operator.opcode != "FULLY_CONNECTED" else np.float64
        products = (np.asarray(data.scale32, kind) * weights.scales.astype(kind)).astype(np.float64)
        return products / np.float64(operator.output.scale32)
    return data.scale32 * weights.scales / operator.output.scale32


def _rounding(
    operator: Operator, kernels: KernelSet, product: Product, factors: np.ndarray, output_range: OutputRange
) -> Rounding:
    element = product.data.element
    if element != "INT16" and not kernels.reference:
        return Float(factors)
    if operator.opcode == "FULLY_CONNECTED":
        return Double(factors)
    if element == "INT16" and (product.bias is None or product.bias.element == "INT64"):
        return ShortMultiplier(factors)
    return DoubleRounding(factors, positive=output_range.low >= 0)
