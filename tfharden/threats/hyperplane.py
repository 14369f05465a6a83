"""Nearest points of hyperplanes within the box, where a linearised classifier changes its decision.

Each value of an image moves only in the direction in which the linear function rises, by a share of its room up to the
edge of the box. The norm decides the share; one number an image determines it, so no sorting is needed.
"""

from typing import NamedTuple

import tensorflow as tf

from tfharden.threats.base import TINY

BITS = 30  # of a float in [0, 1], but for its sign: it takes as many halvings to find one among all of them


class Ascension(NamedTuple):
    """A move up a linear function, as sizes `[batch, n]` of the changes of all values.

    Normals are scaled to a largest slope of 1.

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
    def within(cls, bounds: tuple[float, float], x: tf.Tensor, normal: tf.Tensor, rise: tf.Tensor) -> "Ascension":
        """From images `x [batch, ...]` within the bounds, along `normal`, by `rise [batch]`."""
        low, high = bounds
        x, normal, rise = (tf.reshape(t, [tf.shape(x)[0], -1]) for t in (x, normal, rise))
        sign = tf.sign(normal) * tf.where(rise < 0.0, -1.0, 1.0)
        room = tf.maximum(tf.where(sign > 0.0, high - x, x - low), 0.0)
        slope = tf.abs(normal)
        largest = tf.maximum(tf.reduce_max(slope, axis=1, keepdims=True), TINY)
        slope /= largest
        return cls(sign, slope, room, slope * room, tf.abs(rise) / largest)

    def by(self, sizes: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """The move by these sizes, in the shape of the images."""
        return tf.reshape(self.sign * sizes, tf.shape(x))

    def level(self, full: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """The least level >= 0 at which the function has risen enough, `[batch, 1]`.

        A value raises it by `weight * level` up to the level where it is `full`, and by its gain from there on. So the
        rise is concave and piecewise linear: Newton's method never goes too far, and ends at the root itself after
        passing a few of the places where it bends. Where the root doesn't exist, all values end up full.
        """

        def newton(level: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            is_full = full <= level
            missing = self.rise - _sum(tf.where(is_full, self.gain, 0.0))
            following = tf.maximum(level, tf.math.divide_no_nan(missing, _sum(tf.where(is_full, 0.0, weight))))
            return following, tf.reduce_any(following > level)

        level, _ = tf.while_loop(lambda _, rising: rising, newton, (tf.zeros_like(self.rise), tf.constant(True)))
        return level

    def steepest_first(self) -> tf.Tensor:
        """Sizes by which the steepest values use up all of their room, and the last ones, of equal slopes, a share.

        Floats >= 0 are ordered as their bits are when read as whole numbers, so halving finds the last slope exactly.
        """
        bits = tf.bitcast(self.slope, tf.int32)

        def halve(low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            middle = low + (high - low) // 2
            enough = _sum(tf.where(bits > middle, self.gain, 0.0)) >= self.rise
            return tf.where(enough, middle, low), tf.where(enough, high, middle)

        low = tf.zeros_like(self.rise, tf.int32)
        high = tf.fill(tf.shape(low), 1 << BITS)
        low, high = tf.while_loop(lambda *_: True, halve, (low, high), maximum_iterations=BITS)
        certain, last = bits > high, bits > low
        missing = self.rise - _sum(tf.where(certain, self.gain, 0.0))
        share = tf.math.divide_no_nan(missing, _sum(tf.where(last & ~certain, self.gain, 0.0)))
        share = tf.where(certain, 1.0, tf.clip_by_value(share, 0.0, 1.0))
        return tf.where(last, share * self.room, 0.0)


def _sum(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(values, axis=1, keepdims=True)
