"""L0: how many values change."""

from collections.abc import Callable

import tensorflow as tf

from tfharden.serialization import registered
from tfharden.threats.base import Threat, image_axes, normal, uniform


@registered
class L0(Threat):
    """At most epsilon values of the image change, each by any amount within the box: #{i: x_i != origin_i} <= epsilon.

    A pixel of three channels is three values.
    """

    norm = "L0"

    def draw(self, origin: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Epsilon values, drawn without replacement, are uniform in the box; the others stay."""
        chosen = self._largest(normal(tf.shape(origin), seed, dtype=origin.dtype), tf.zeros_like(origin))
        return tf.where(chosen, uniform(tf.shape(origin), seed + 1, *self.bounds, origin.dtype), origin)

    def steepest(self, gradient: tf.Tensor) -> tf.Tensor:
        """Every value may move freely, so what is steepest is told by the sign; `project` says how many may."""
        return tf.sign(gradient)

    def shrink(self, perturbation: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.where(self._largest(perturbation, tf.zeros_like(perturbation)), perturbation, 0.0)

    def _projection(self, origin: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
        """To the nearest (Euclidean) point in the intersection of ball and box."""

        def project(x: tf.Tensor) -> tf.Tensor:
            inside = tf.clip_by_value(x, *self.bounds)
            # Keeping a value saves the square of its change, but for what the box cuts off.
            return tf.where(self._largest(x - origin, x - inside), inside, origin)

        return project

    def distance(self, x: tf.Tensor, origin: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.reduce_sum(tf.cast(tf.abs(x - origin) > self.rounding, x.dtype), axis=image_axes(x))

    def _largest(self, change: tf.Tensor, lost: tf.Tensor) -> tf.Tensor:
        """Where the epsilon largest of `change^2 - lost^2` stand that aren't zero."""
        saved = tf.reshape(tf.square(change) - tf.square(lost), [tf.shape(change)[0], -1])
        rank = tf.argsort(tf.argsort(saved, axis=1, direction="DESCENDING"), axis=1)
        return tf.reshape((rank < tf.cast(self.epsilon, tf.int32)) & (saved > 0), tf.shape(change))
