"""Linf: every value by at most epsilon."""

import dataclasses
import math
from collections.abc import Callable
from typing import Self

import tensorflow as tf

from tfharden.errors import InputError
from tfharden.serialization import registered
from tfharden.threats.base import Threat, image_axes, uniform
from tfharden.threats.hyperplane import Ascension


@registered
class Linf(Threat):
    """Every value of the image may change by at most epsilon: max_i |x_i - origin_i| <= epsilon."""

    norm = "Linf"
    order = math.inf
    dual_order = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.bounds
        if self.epsilon > high - low:
            raise InputError(
                f"epsilon={self.epsilon:g} is larger than the input range [{low:g}, {high:g}]: "
                f"epsilon is in units of the model's input (8/255, say, for images in [0, 1])"
            )

    def restrict(self, bounds: tuple[float, float], lattice: float | None) -> Self:
        """As for every threat; a ball that the narrower box lies in is no larger than the box."""
        epsilon = min(self.epsilon, bounds[1] - bounds[0])
        return dataclasses.replace(self, epsilon=epsilon, bounds=bounds, lattice=lattice)

    def draw(self, origin: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return origin + uniform(tf.shape(origin), seed, -self.epsilon, self.epsilon, origin.dtype)

    def steepest(self, gradient: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.sign(gradient)

    def nearest_on_hyperplane(self, x: tf.Tensor, normal: tf.Tensor, rise: tf.Tensor) -> tf.Tensor:
        """All values move by the same length, as far as they have room: min(room, level)."""
        move = Ascension.within(self.bounds, x, normal, rise)
        return move.by(tf.minimum(move.room, move.level(move.room, move.slope)), x)

    def shrink(self, perturbation: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.clip_by_value(perturbation, -self.epsilon, self.epsilon)

    def _projection(self, origin: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
        """Ball and box together are one interval for each value."""
        low, high = self.bounds
        least, most = tf.maximum(origin - self.epsilon, low), tf.minimum(origin + self.epsilon, high)
        return lambda x: tf.clip_by_value(x, least, most)

    def distance(self, x: tf.Tensor, origin: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return tf.reduce_max(tf.abs(x - origin), axis=image_axes(x))
