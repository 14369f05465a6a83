"""L1: the sum of all changes."""

import math
from collections.abc import Callable

import tensorflow as tf

from tfharden.serialization import registered
from tfharden.threats.base import TINY, Threat, image_axes, uniform
from tfharden.threats.hyperplane import Ascension


@registered
class L1(Threat):
    """The changes of all values add up to at most epsilon: sum_i |x_i - origin_i| <= epsilon.

    Many small changes cost as much as a few large ones, so attacks change few values, up to the edge of the box. Step
    and projection know the box (Croce and Hein 2021, arXiv:2103.01208): cutting afterwards would waste most of epsilon.
    """

    norm = "L1"
    order = 1.0
    dual_order = math.inf
    sparse_steps = True

    def draw(self, origin: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """A uniform point of the ball: of d + 1 exponential variables, d as shares of their sum, with random signs."""
        flat = _flat(origin)
        count = tf.shape(flat)[1]
        draws = -tf.math.log1p(-uniform([tf.shape(flat)[0], count + 1], seed, dtype=origin.dtype))
        signs = tf.sign(uniform(tf.shape(flat), seed + 1, -1.0, 1.0, origin.dtype))
        shares = draws[:, :-1] / tf.reduce_sum(draws, axis=1, keepdims=True)
        return origin + tf.reshape(self.epsilon * signs * shares, tf.shape(origin))

    def steepest(self, gradient: tf.Tensor) -> tf.Tensor:
        """One step of length 1 along the value with the largest slope, the first of several."""
        flat = _flat(gradient)
        largest = tf.argmax(tf.abs(flat), axis=1)
        direction = tf.one_hot(largest, tf.shape(flat)[1], dtype=gradient.dtype) * tf.sign(flat)
        return tf.reshape(direction, tf.shape(gradient))

    def step(  # noqa: D102
        self, x: tf.Tensor, gradient: tf.Tensor, length: float | tf.Tensor, spread: float | tf.Tensor = 1.0
    ) -> tf.Tensor:
        # Values in the order of their slopes are moved by length / spread each, but not beyond the box, until the
        # length is used up. With a spread of 1 no other move of this length rises more on a linear function.
        low, high = self.bounds
        flat, slope = _flat(x), _flat(gradient)
        length = tf.reshape(tf.cast(length, x.dtype), [-1, 1])
        room = tf.where(slope > 0, high - flat, flat - low)
        room = tf.minimum(room, length / tf.reshape(tf.cast(spread, x.dtype), [-1, 1]))
        room = tf.where(slope == 0.0, 0.0, tf.maximum(room, 0.0))
        order = tf.argsort(tf.abs(slope), axis=1, direction="DESCENDING")
        ranked = tf.gather(room, order, batch_dims=1)
        moved = tf.clip_by_value(length - tf.cumsum(ranked, axis=1, exclusive=True), 0.0, ranked)
        moved = tf.gather(moved, tf.argsort(order, axis=1), batch_dims=1)
        return x + tf.reshape(tf.sign(slope) * moved, tf.shape(x))

    def nearest_on_hyperplane(self, x: tf.Tensor, normal: tf.Tensor, rise: tf.Tensor) -> tf.Tensor:
        """Values use up all of their room, the steepest first; the last ones, of equal slopes, share what is left."""
        move = Ascension.within(self.bounds, x, normal, rise)
        return move.by(move.steepest_first(), x)

    def shrink(self, perturbation: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return self._shrink(perturbation, tf.fill(tf.shape(perturbation), perturbation.dtype.max))

    def _projection(self, origin: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
        """To the nearest (Euclidean) point in the intersection of ball and box."""
        low, high = self.bounds

        def project(x: tf.Tensor) -> tf.Tensor:
            change = x - origin
            room = tf.maximum(tf.where(change > 0, high - origin, origin - low), 0.0)
            return tf.clip_by_value(origin + self._shrink(change, room), low, high)

        return project

    def distance(self, x: tf.Tensor, origin: tf.Tensor) -> tf.Tensor:  # noqa: D102
        # The sum of many values rounds in float32 at more than the tolerance.
        length = tf.reduce_sum(tf.cast(tf.abs(x - origin), tf.float64), axis=image_axes(x))
        return tf.cast(length, x.dtype)

    def _shrink(self, perturbation: tf.Tensor, room: tf.Tensor) -> tf.Tensor:
        """sign(p) * clip(|p| - t, 0, room), with the least t >= 0 for which the sum of its sizes is epsilon or less.

        That sum is linear in t between the breakpoints |p| and |p| - room, so t is found by sorting them.
        """
        size, room = tf.abs(_flat(perturbation)), _flat(room)
        wide = tf.cast(size, tf.float64)
        points = tf.concat([wide, wide - tf.minimum(tf.cast(room, tf.float64), wide)], axis=1)
        # Below its upper breakpoint a value shrinks with t, below its lower one it stays at its room.
        slope = tf.concat([tf.ones_like(wide), -tf.ones_like(wide)], axis=1)
        order = tf.argsort(points, axis=1, direction="DESCENDING")
        points, slope = tf.gather(points, order, batch_dims=1), tf.gather(slope, order, batch_dims=1)
        weight, total = tf.cumsum(slope, axis=1), tf.cumsum(slope * points, axis=1)
        epsilon = tf.cast(self.epsilon, tf.float64)
        # The sum at each breakpoint; it grows as t falls along the row.
        below = tf.reduce_sum(tf.cast(total - weight * points <= epsilon, tf.int32), axis=1, keepdims=True)
        last = tf.maximum(below - 1, 0)
        weight, total = tf.gather(weight, last, batch_dims=1), tf.gather(total, last, batch_dims=1)
        threshold = tf.maximum((total - epsilon) / tf.maximum(weight, 1.0), 0.0)
        kept = tf.clip_by_value(size - tf.cast(threshold, size.dtype), 0.0, room)
        # What rounding leaves above epsilon.
        kept *= tf.minimum(1.0, self.epsilon / tf.maximum(tf.reduce_sum(kept, axis=1, keepdims=True), TINY))
        return tf.reshape(tf.sign(_flat(perturbation)) * kept, tf.shape(perturbation))


def _flat(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [tf.shape(x)[0], -1])
