"""Roundings against the same in Python's whole numbers, which have no limit."""

import numpy as np
import pytest
import tensorflow as tf

from tfharden.tflite.kernels.fixed_point import (
    Double,
    DoubleRounding,
    Float,
    ShortMultiplier,
    quantised_multiplier,
)


def twice_rounded(total, multiplier, shift):
    """By the definition: the product's upper half, rounded up; shifted right, halves away from zero."""
    upper = (total * 2 ** max(shift, 0) * multiplier + 2**30) >> 31
    right = max(-shift, 0)
    if not right:
        return upper
    size = (abs(upper) + 2 ** (right - 1)) >> right
    return size if upper >= 0 else -size


@pytest.mark.parametrize("factor", [0.0031, 0.25, 2.0**-9, 0.7512, 1.0, 3.3, 1 / 3, 2.0**-9 * (1 + 2**-20)])
def test_double_rounding(factor):
    random = np.random.default_rng(0)
    sums = np.concatenate([random.integers(-(2**21), 2**21, 4000), np.arange(-3000, 3000)])
    expected = [twice_rounded(int(total), *quantised_multiplier(factor)) for total in sums]
    given = DoubleRounding(np.float64(factor))(tf.constant(sums, tf.float32)).numpy()
    np.testing.assert_array_equal(given, expected)
    positive = DoubleRounding(np.float64(factor), positive=True)(tf.constant(sums, tf.float32)).numpy()
    np.testing.assert_array_equal(np.maximum(positive, 0), np.maximum(expected, 0))


def test_factors_for_each_channel():
    factors = np.array([0.25, 0.003])
    sums = np.array([[10.0, 1000.0], [-10.0, -1000.0]])
    given = DoubleRounding(factors)(tf.constant(sums, tf.float32)).numpy()
    np.testing.assert_array_equal(given, [[3, 3], [-3, -3]])


@pytest.mark.parametrize("factor", [0.5, 0.1, 3.7, 1e-3])
def test_multipliers_hold_31_bits(factor):
    multiplier, shift = quantised_multiplier(factor)
    assert 2**30 <= multiplier < 2**31
    assert multiplier * 2.0 ** (shift - 31) == pytest.approx(factor, rel=2**-31)


def test_multipliers_at_the_ends():
    assert quantised_multiplier(0.0) == (0, 0)
    assert quantised_multiplier(2.0**-40) == (0, 0)
    assert quantised_multiplier(1.0 - 2.0**-40) == (2**30, 1)


def test_short_multiplier():
    sums = np.random.default_rng(0).integers(-(2**36), 2**36, 2000)
    multiplier, shift = quantised_multiplier(1.3e-5)
    short = (multiplier + 2**15) >> 16
    expected = [(int(total) * short + (1 << 14 - shift)) >> (15 - shift) for total in sums]
    given = ShortMultiplier(np.float64(1.3e-5))(tf.constant(sums, tf.float64)).numpy()
    np.testing.assert_array_equal(given, expected)


def test_halves():
    sums = tf.constant([-3.0, -1.0, 1.0, 3.0, 5.0])
    np.testing.assert_array_equal(Float(np.float32(0.5))(sums), [-2, 0, 0, 2, 2])
    np.testing.assert_array_equal(Double(np.float64(0.5))(sums), [-2, -1, 1, 2, 3])
