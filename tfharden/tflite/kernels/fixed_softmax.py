"""Softmax in fixed point, as LiteRT's own kernels have it: of 8 bits in the reference kernels, of 16 bits in all.

A number with k integer bits stands for a real one times 2^(31 - k).
"""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfharden.tflite.graph import Operator
from tfharden.tflite.kernels.fixed_point import quantised_multiplier
from tfharden.tflite.kernels.kernel_set import Function

_ONE = 2**31 - 1
_DIFFERENCE_BITS, _SUM_BITS = 5, 12
# exp(-2^k) for k from -2 to 4, and exp(-1/8), with no integer bits.
_POWERS = [min(round(math.exp(-(2.0**k)) * 2**31), _ONE) for k in range(-2, 5)]
_EIGHTH = round(math.exp(-0.125) * 2**31)
_THIRD = round(2**31 / 3)
# Newton's method for 1 / d begins at 48/17 - 32/17 d, with two integer bits.
_INTERCEPT, _SLOPE, _TWO_BITS = round(48 / 17 * 2**29), -round(32 / 17 * 2**29), 2**29


def of_8_bits(op: Operator) -> Function:
    """The exact function: exponentials of differences to the largest, times the reciprocal of their sum."""
    source, target = op.inputs[0], op.output
    multiplier, shift = quantised_multiplier(
        min(float(op.option("beta")) * float(source.scale32) * 2.0 ** (31 - _DIFFERENCE_BITS), 2.0**31 - 1.0)
    )
    deepest = math.floor(((1 << _DIFFERENCE_BITS) - 1) * 2.0 ** (31 - _DIFFERENCE_BITS) / 2.0**shift)
    steps = range(256)
    powers = [_exp(_times(-step * 2**shift, multiplier)) if step <= deepest else 0 for step in steps]
    table = np.array(powers, np.int64)
    shares = np.array([_halved(power, _SUM_BITS) for power in powers], np.int64)
    low, high = target.limits

    def exact(x: tf.Tensor) -> tf.Tensor:
        below = tf.cast(tf.reduce_max(x, axis=-1, keepdims=True) - x, tf.int32)
        total = tf.reduce_sum(tf.gather(shares, below), axis=-1, keepdims=True)
        width = _width(total)
        reciprocal = _reciprocal(tf.bitwise.left_shift(total, 31 - width) - 2**31)
        # Bits of the sum beyond those of 1, and all but the 8 bits of the output.
        exponent = width - (31 - _SUM_BITS) + 31 - 8
        products = _times(tf.gather(table, below), reciprocal)
        half = tf.bitwise.left_shift(tf.ones_like(exponent), exponent - 1)
        return tf.clip_by_value(tf.cast(tf.bitwise.right_shift(products + half, exponent), tf.float32), low, high)

    return exact


def _times(a: tf.Tensor | int, b: tf.Tensor | int) -> tf.Tensor | int:
    """The upper half of the doubled product of 32-bit numbers, rounded up."""
    product = a * b + (1 << 30)
    return product >> 31 if isinstance(product, int) else tf.bitwise.right_shift(product, tf.constant(31, tf.int64))


def _halved(number: int, times: int) -> int:
    """A number over 2^times, halves away from zero."""
    return int(math.copysign((abs(number) + (1 << times - 1)) >> times, number))


def _exp(number: int) -> int:
    """The exponential, without integer bits, of a number <= 0 that has 5.

    A polynomial round -1/8 for the part between -1/4 and 0, and one factor for each bit of the rest.
    """
    if number == 0:
        return _ONE
    quarter = 1 << 31 - _DIFFERENCE_BITS - 2
    part = (number & quarter - 1) - quarter
    x = (part << _DIFFERENCE_BITS) + (1 << 28)
    x2 = _times(x, x)
    x3, x4 = _times(x2, x), _times(x2, x2)
    tail = _halved(_times(_halved(x4, 2) + x3, _THIRD) + x2, 1)
    result = _EIGHTH + _times(_EIGHTH, x + tail)
    rest = part - number
    for bit, power in enumerate(_POWERS, start=31 - _DIFFERENCE_BITS - 2):
        if rest >> bit & 1:
            result = _times(result, power)
    return result


def _width(number: tf.Tensor) -> tf.Tensor:
    """The number of bits but the highest, of whole numbers from 1 to 2^31."""
    # Far less than what one step adds, and more than what rounding takes away.
    return tf.cast(tf.floor(tf.math.log(tf.cast(number, tf.float64)) / math.log(2.0) + 1e-10), tf.int64)


def _reciprocal(fraction: tf.Tensor) -> tf.Tensor:
    """1 / (1 + fraction), for a fraction in [0, 1), both without integer bits: three steps of Newton's method."""
    half = (fraction + _ONE + 1) // 2
    x = _INTERCEPT + _times(half, tf.constant(_SLOPE, tf.int64))
    for _ in range(3):
        x += 4 * _times(x, _TWO_BITS - _times(half, x))
    return tf.minimum(2 * x, _ONE)


def of_16_bits(op: Operator) -> Function:
    """The exact function: exponentials and the reciprocal from tables with 512 intervals."""
    multiplier, shift = quantised_multiplier(
        float(op.option("beta")) * float(op.inputs[0].scale32) * (2.0**16 - 1) / 10.0
    )
    exponentials = _Table(math.exp, -10.0, 0.0)
    reciprocals = _Table(lambda x: 1.0 / (1.0 + x), 0.0, 1.0)
    unit = tf.constant(1, tf.int64)

    def exact(x: tf.Tensor) -> tf.Tensor:
        below = tf.cast(x - tf.reduce_max(x, axis=-1, keepdims=True), tf.int64)
        steps = _shifted(_times(below * 2 ** max(shift, 0), multiplier), max(-shift, 0))
        powers = exponentials(tf.clip_by_value(steps + 32767, -32768, 32767))
        total = tf.reduce_sum(powers, axis=-1, keepdims=True)
        width = _width(total)
        # From 1 to 2 with 16 bits behind the point.
        scaled = tf.bitwise.right_shift(tf.bitwise.left_shift(total, 30 - width) + (1 << 13), 14 * unit)
        reciprocal = reciprocals(tf.clip_by_value(scaled - (1 << 15) - (1 << 16), -32768, 32767))
        rounding = tf.bitwise.left_shift(unit, width - 1)
        results = tf.bitwise.right_shift(powers * reciprocal + rounding, width)
        return tf.clip_by_value(tf.cast(results, tf.float32), 0.0, 32767.0)

    return exact


def _shifted(number: tf.Tensor, times: int) -> tf.Tensor:
    """Numbers over 2^times, halves away from zero."""
    if not times:
        return number
    size = tf.bitwise.right_shift(tf.abs(number) + (1 << times - 1), tf.constant(times, tf.int64))
    return tf.sign(number) * size


class _Table:
    """A function of 16 bits by straight lines between 513 points, each moved towards the middle of its interval."""

    def __init__(self, function: Callable[[float], float], low: float, high: float) -> None:
        step = (high - low) / 512
        exact = [function(low + index * step) * 2**15 for index in range(513)]
        points = [_round(value) for value in exact]
        for index in range(512):
            straight = _round((exact[index + 1] + points[index]) / 2)
            middle = _round(function(low + index * step + step / 2) * 2**15)
            points[index] -= _round((straight - middle) / 2)
        self._points = np.clip(np.array(points, np.int64), -32768, 32767)

    def __call__(self, number: tf.Tensor) -> tf.Tensor:
        index = 256 + tf.bitwise.right_shift(number, tf.constant(7, tf.int64))
        offset = tf.bitwise.bitwise_and(number, tf.constant(127, tf.int64))
        base = tf.gather(self._points, index)
        slope = tf.gather(self._points, index + 1) - base
        return base + tf.bitwise.right_shift(slope * offset + 64, tf.constant(7, tf.int64))


def _round(value: float) -> int:
    """Halves away from zero."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))
