"""The nearest point of a hyperplane within the box: where a linearised classifier changes its mind.

Each value of an image moves only in the direction in which the linear function rises, by a share of its room up to the
edge of the box. Which share, is what the norm decides; one number an image tells it, so no sorting is needed.
"""

import functools
from typing import NamedTuple

import tensorflow as tf

from tfharden.errors import InputError
from tfharden.threats import L1, L2, Linf, Threat
from tfharden.threats.base import TINY

BITS = 30  # of a float in [0, 1], but for its sign: it takes as many halvings to find one among all of them


def dual_length(threat: Threat, normal: tf.Tensor) -> tf.Tensor:
    """How much a linear function with the gradient `normal [batch, ...]` rises along a way of length 1, `[batch]`."""
    return tf.reduce_sum(normal * threat.steepest(normal), axis=list(range(1, len(normal.shape))))


@functools.singledispatch
def crossing(threat: Threat, x: tf.Tensor, normal: tf.Tensor, rise: tf.Tensor) -> tf.Tensor:
    """The shortest d, in the threat's norm, with normal . d = rise and x + d in the box (Croce and Hein 2020, eq. 5).

    Where no such d exists, the one within the box whose normal . d is nearest to `rise`. For the hyperplane
    w . (x + d) = b, `rise` is b - w . x: the caller mostly knows this difference better than its two parts.

    Args:
        threat: says the norm and the box; its epsilon doesn't matter.
        x: points `[batch, ...]` in the box.
        normal: of the hyperplanes, finite, `[batch, ...]`.
        rise: what the linear function has to rise by, `[batch]`.

    Raises:
        InputError: a norm in which no such point is known.
    """
    raise InputError(f"no nearest point of a hyperplane is known in {threat.norm}")


@crossing.register
def _(threat: Linf, x: tf.Tensor, normal: tf.Tensor, rise: tf.Tensor) -> tf.Tensor:
    """All values move by the same length, as far as they have room: min(room, level)."""
    way = _Way.of(threat, x, normal, rise)
    level = _level(way.room, way.slope, way)
    return way.walked(tf.minimum(way.room, level), x)


@crossing.register
def _(threat: L2, x: tf.Tensor, normal: tf.Tensor, rise: tf.Tensor) -> tf.Tensor:
    """Values move in proportion to their slopes, as far as they have room: min(room, level * slope)."""
    way = _Way.of(threat, x, normal, rise)
    full = way.room / tf.maximum(way.slope, TINY)
    level = _level(full, tf.square(way.slope), way)
    return way.walked(tf.where(full > level, level * way.slope, way.room), x)


@crossing.register
def _(threat: L1, x: tf.Tensor, normal: tf.Tensor, rise: tf.Tensor) -> tf.Tensor:
    """Values use up all of their room, the steepest first; the last ones, of equal slopes, share what is left.

    Floats >= 0 are ordered as their bits are when read as whole numbers, so halving finds the last slope exactly.
    """
    way = _Way.of(threat, x, normal, rise)
    bits = tf.bitcast(way.slope, tf.int32)

    def halve(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        middle = low + (high - low) // 2
        enough = _sum(tf.where(bits > middle, way.gain, 0.0)) >= way.rise
        return tf.where(enough, middle, low), tf.where(enough, high, middle)

    low = tf.zeros_like(way.rise, tf.int32)
    high = tf.fill(tf.shape(low), 1 << BITS)
    low, high = tf.while_loop(lambda *_: True, halve, (low, high), maximum_iterations=BITS)
    certain, last = bits > high, bits > low
    missing = way.rise - _sum(tf.where(certain, way.gain, 0.0))
    share = tf.math.divide_no_nan(missing, _sum(tf.where(last & ~certain, way.gain, 0.0)))
    share = tf.where(certain, 1.0, tf.clip_by_value(share, 0.0, 1.0))
    return way.walked(tf.where(last, share * way.room, 0.0), x)


class _Way(NamedTuple):
    """A move upwards, as sizes `[batch, n]` of the changes of all values; normals are scaled to a largest slope of 1.

    Attributes:
        sign: direction in which each value raises the function.
        slope: by how much, for a change of 1.
        room: how far the value can move.
        gain: by how much the function rises if it moves that far.
        rise: by how much the function has to rise, `[batch, 1]`.
    """

    sign: tf.Tensor
    slope: tf.Tensor
    room: tf.Tensor
    gain: tf.Tensor
    rise: tf.Tensor

    @classmethod
    def of(cls, threat: Threat, x: tf.Tensor, normal: tf.Tensor, rise: tf.Tensor) -> "_Way":
        low, high = threat.bounds
        x, normal, rise = (tf.reshape(t, [tf.shape(x)[0], -1]) for t in (x, normal, rise))
        sign = tf.sign(normal) * tf.where(rise < 0.0, -1.0, 1.0)
        room = tf.maximum(tf.where(sign > 0.0, high - x, x - low), 0.0)
        slope = tf.abs(normal)
        largest = tf.maximum(tf.reduce_max(slope, axis=1, keepdims=True), TINY)
        slope /= largest
        return cls(sign, slope, room, slope * room, tf.abs(rise) / largest)

    def walked(self, sizes: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """The move in the shape of the images."""
        return tf.reshape(self.sign * sizes, tf.shape(x))


def _level(full: tf.Tensor, weight: tf.Tensor, way: _Way) -> tf.Tensor:
    """The least level >= 0 at which the function has risen enough, `[batch, 1]`.

    A value raises it by `weight * level` up to the level where it is `full`, and by its gain from there on. So the
    rise is concave and piecewise linear: Newton's method never goes too far, and ends at the root itself after passing
    a few of the places where it bends. Where the root doesn't exist, all values end up full.
    """

    def newton(level: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        is_full = full <= level
        missing = way.rise - _sum(tf.where(is_full, way.gain, 0.0))
        following = tf.maximum(level, tf.math.divide_no_nan(missing, _sum(tf.where(is_full, 0.0, weight))))
        return following, tf.reduce_any(following > level)

    level, _ = tf.while_loop(lambda _, rising: rising, newton, (tf.zeros_like(way.rise), tf.constant(True)))
    return level


def _sum(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(values, axis=1, keepdims=True)
