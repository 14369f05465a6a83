"""Requantisation: from the sums of an operator to the integers of its output, as each kernel set rounds.

Sums are whole numbers in float32 or float64; both hold them exactly as long as they stay below 2^24 and 2^53.
"""

import abc
import dataclasses
import math

import numpy as np
import tensorflow as tf

from tfharden.tflite.graph import Operator, Tensor
from tfharden.tflite.kernels.straight_through import fixed

_BITS = 31


def quantised_multiplier(factor: float) -> tuple[int, int]:
    """`factor` as m * 2^(shift - 31), with m in [2^30, 2^31): LiteRT's form of a real factor in 32-bit integers."""
    if not factor:
        return 0, 0
    mantissa, shift = math.frexp(factor)
    multiplier = math.floor(mantissa * 2**_BITS + 0.5)
    if multiplier == 2**_BITS:
        multiplier, shift = multiplier // 2, shift + 1
    return (0, 0) if shift < -_BITS else (multiplier, shift)


# One for all channels, or one for each.
Factors = np.ndarray | np.floating


class Rounding(abc.ABC):
    """A way to multiply whole sums by real factors and round."""

    @abc.abstractmethod
    def __call__(self, sums: tf.Tensor) -> tf.Tensor:
        """Whole products, in the type of the arithmetic."""


class Float(Rounding):
    """float32(sum) * float32(factor), halves to even: XNNPACK's "fp32" requantisation on x86."""

    def __init__(self, factors: Factors) -> None:
        self._factors = np.asarray(factors, np.float32)

    def __call__(self, sums: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.round(tf.cast(sums, tf.float32) * fixed(self._factors))


class Double(Rounding):
    """float64(sum) * factor, halves away from zero: LiteRT's reference kernel of dense layers."""

    def __init__(self, factors: Factors) -> None:
        self._factors = np.asarray(factors, np.float64)

    def __call__(self, sums: tf.Tensor) -> tf.Tensor:  # noqa: D102
        products = tf.cast(sums, tf.float64) * fixed(self._factors, tf.float64)
        return tf.sign(products) * tf.floor(tf.abs(products) + 0.5)


class DoubleRounding(Rounding):
    """LiteRT's own for 32-bit sums: the upper half of the doubled product, rounded up; shifted, halves away from zero.

    Of a positive sum that is floor(z + 1/2 + e), where z is the product and e half a unit of the upper half: what the
    first rounding adds at most. Of a negative one it is floor(z + 1/2 - e). In float64 the product is exact for sums
    below 2^22, and beyond that in all but a few of 10^9.

    Args:
        factors: one, or one for each channel.
        count: for a mean over so many values, of which `factors` are those of the sum.
        positive: whether negative results don't matter, since they are clipped to zero.
    """

    def __init__(self, factors: Factors, count: int = 1, *, positive: bool = False) -> None:
        pairs = [_divided(*quantised_multiplier(float(factor)), count) for factor in np.atleast_1d(factors)]
        self._factors = np.reshape([math.ldexp(m, shift - _BITS) for m, shift in pairs], np.shape(factors))
        units = [math.ldexp(0.5, shift) if shift < 0 else 0.0 for _, shift in pairs]
        self._units = np.reshape(units, np.shape(factors))
        self._positive = positive

    def __call__(self, sums: tf.Tensor) -> tf.Tensor:  # noqa: D102
        products = tf.cast(sums, tf.float64) * fixed(self._factors, tf.float64)
        if self._positive:
            return tf.floor(products + fixed(0.5 + self._units, tf.float64))
        return tf.floor(products + (tf.sign(products) * fixed(self._units, tf.float64) + 0.5))


def _divided(multiplier: int, shift: int, count: int) -> tuple[int, int]:
    """The multiplier of a mean over `count`, which LiteRT takes from that of the sum, rounding down."""
    up = min(count.bit_length() - 1, 32, _BITS + shift)
    return (multiplier << up) // count, shift - up


class ShortMultiplier(Rounding):
    """LiteRT's own for 64-bit sums: a multiplier of 16 bits, and one rounding, halves up."""

    def __init__(self, factors: Factors) -> None:
        pairs = [quantised_multiplier(float(factor)) for factor in np.atleast_1d(factors)]
        short = [0x7FFF if multiplier >= 0x7FFF0000 else (multiplier + 2**15) >> 16 for multiplier, _ in pairs]  # noqa: PLR2004
        exact = [math.ldexp(multiplier, shift - 15) for multiplier, (_, shift) in zip(short, pairs, strict=True)]
        self._factors = np.reshape(exact, np.shape(factors))

    def __call__(self, sums: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.floor(tf.cast(sums, tf.float64) * fixed(self._factors, tf.float64) + 0.5)


@dataclasses.dataclass(frozen=True)
class OutputRange:
    """Range that the centred values of an output are clipped to, and the slope of a fused activation.

    Attributes:
        low: least value.
        high: greatest value.
        gate: the values strictly between which an activation lets gradients pass; None if it has none.
    """

    low: float
    high: float
    gate: tuple[float, float] | None = None

    @classmethod
    def of(cls, operator: Operator) -> "OutputRange":
        """That of an operator's output, with its fused activation."""
        return cls.fused(operator.activation, operator.output)

    @classmethod
    def fused(cls, activation: str, output: Tensor) -> "OutputRange":
        """That of an output of a fused activation."""
        low, high = output.limits
        if activation not in ACTIVE:
            return cls(low, high)
        least, most = ACTIVE[activation]
        steps = (least / float(output.scale32), most / float(output.scale32))
        # A whole number of steps, halves away from zero.
        ends = [math.copysign(math.floor(abs(step) + 0.5), step) if math.isfinite(step) else step for step in steps]
        return cls(max(low, ends[0]), min(high, ends[1]), steps)

    def clip(self, values: tf.Tensor) -> tf.Tensor:
        """`values` between low and high."""
        return tf.clip_by_value(values, tf.cast(self.low, values.dtype), tf.cast(self.high, values.dtype))


# Least and greatest real value of what a fused activation lets through.
ACTIVE = {"RELU": (0.0, math.inf), "RELU_N1_TO_1": (-1.0, 1.0), "RELU6": (0.0, 6.0)}


def gated(gradient: tf.Tensor, sums: tf.Tensor, factors: np.ndarray, output_range: OutputRange) -> tf.Tensor:
    """The gradient of an output, with zeros where the fused activation is flat; `sums * factors` is what it was given.

    Where an output leaves the range of its type, the gradient passes: steps along it can bring the output back.
    """
    if output_range.gate is None:
        return gradient
    low, high = output_range.gate
    sums = tf.cast(sums, gradient.dtype)
    if low == 0.0:
        gradient = tf.raw_ops.ReluGrad(gradients=gradient, features=sums)
    if low == 0.0 and math.isinf(high):
        return gradient
    given = sums * np.float32(factors)
    return tf.where((given > low) & (given < high), gradient, 0.0)
