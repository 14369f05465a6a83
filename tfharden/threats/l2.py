"""L2: the Euclidean length of the change."""

import tensorflow as tf

from tfharden.serialization import registered
from tfharden.threats.base import TINY, Threat, euclidean_length, image_axes, uniform
from tfharden.threats.base import normal as normal_draws
from tfharden.threats.hyperplane import Ascension


@registered
class L2(Threat):
    """The Euclidean length of the change is at most epsilon: sqrt(sum_i (x_i - origin_i)^2) <= epsilon."""

    norm = "L2"
    order = 2.0
    dual_order = 2.0

    def draw(self, origin: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """A uniform point of the ball: a Gaussian direction at radius epsilon * u^(1/d), u uniform in [0, 1]."""
        direction = self.steepest(normal_draws(tf.shape(origin), seed, dtype=origin.dtype))
        dimension = tf.cast(tf.size(origin[0]), origin.dtype)
        shape = tf.concat([tf.shape(origin)[:1], tf.ones([tf.rank(origin) - 1], tf.int32)], axis=0)
        radius = uniform(shape, seed + 1, dtype=origin.dtype) ** (1.0 / dimension)
        return origin + self.epsilon * radius * direction

    def steepest(self, gradient: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return gradient / tf.maximum(euclidean_length(gradient), TINY)

    def nearest_on_hyperplane(self, x: tf.Tensor, normal: tf.Tensor, rise: tf.Tensor) -> tf.Tensor:
        """Values move in proportion to their slopes, as far as they have room: min(room, level * slope)."""
        move = Ascension.within(self.bounds, x, normal, rise)
        full = move.room / tf.maximum(move.slope, TINY)
        level = move.level(full, tf.square(move.slope))
        return move.by(tf.where(full > level, level * move.slope, move.room), x)

    def shrink(self, perturbation: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return perturbation * tf.minimum(1.0, self.epsilon / tf.maximum(euclidean_length(perturbation), TINY))

    def distance(self, x: tf.Tensor, origin: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.sqrt(tf.reduce_sum(tf.square(x - origin), axis=image_axes(x)))
