"""Best iterate of each example, by criterion and score."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf


class BestIterate(NamedTuple):
    """The best image of each example so far: one that reaches the criterion beats one that doesn't, then the score.

    An ascent scores by its value. A search for the nearest image scores by `nearness`.

    Attributes:
        x: images, `[batch, ...]`.
        score: their scores, higher is better, `[batch]`.
        reached: whether they reach the criterion, `[batch]`.
    """

    x: tf.Tensor
    score: tf.Tensor
    reached: tf.Tensor

    @classmethod
    def empty(cls, x: tf.Tensor) -> "BestIterate":
        """Images `x` with the lowest score, which any other image beats."""
        batch = tf.shape(x)[:1]
        return cls(x, tf.fill(batch, x.dtype.min), tf.zeros(batch, tf.bool))

    @classmethod
    def specs(cls, images: tf.TensorSpec) -> "BestIterate":
        """The signature that compiled functions take it with, for images of that specification."""
        return cls(images, tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.bool))

    def update(self, x: tf.Tensor, score: tf.Tensor, reached: tf.Tensor) -> "BestIterate":
        """The better of the present ones and of the images `x`; the present ones on a tie."""
        better = tf.where(reached == self.reached, score > self.score, reached)
        return BestIterate(
            # Chooses whole images, in half the time of tf.where with a condition that has to be broadcast.
            tf.raw_ops.Select(condition=better, x=x, y=self.x),
            tf.where(better, score, self.score),
            tf.logical_or(self.reached, reached),
        )

    @property
    def distance(self) -> tf.Tensor:
        """The distance, where `nearness` is the score: infinite where the criterion was never reached, `[batch]`."""
        return tf.where(self.reached, -self.score, np.inf)


def nearness(reached: tf.Tensor, distance: tf.Tensor, value: float | tf.Tensor = -np.inf) -> tf.Tensor:
    """A score by which the nearest image that reaches the criterion is best; while none does, the highest `value`."""
    return tf.where(reached, -distance, value)
