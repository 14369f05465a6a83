"""Relational distillation: distances and angles between the examples of a batch."""

import dataclasses

import tensorflow as tf

from tfharden.distillation.losses.base import BetweenExamples, vectors
from tfharden.serialization import registered


def relative_distances(features: tf.Tensor) -> tf.Tensor:
    """psi_ij = |f_i - f_j| / mean_{i != j} |f_i - f_j|, `[batch, batch]`; zeros where all examples coincide."""
    _, lengths = _offsets(features)
    count = tf.cast(tf.shape(lengths)[0], tf.float32)
    mean = tf.reduce_sum(lengths) / tf.maximum(count * (count - 1), 1.0)
    return tf.math.divide_no_nan(lengths, mean)


def angles(features: tf.Tensor) -> tf.Tensor:
    """Cosines of the angle at j between i and k, `[batch, batch, batch]` in the order j, i, k.

    <e_ij, e_kj> with e_ij = (f_i - f_j) / |f_i - f_j|; 0 where one of the two coincides with j.
    """
    offsets, lengths = _offsets(features)
    directions = tf.math.divide_no_nan(offsets, lengths[..., tf.newaxis])
    return tf.einsum("jid,jkd->jik", directions, directions)


def huber(error: tf.Tensor) -> tf.Tensor:
    """x^2 / 2 for |x| <= 1, |x| - 1/2 beyond."""
    size = tf.abs(error)
    quadratic = tf.minimum(size, 1.0)
    return quadratic * (size - quadratic / 2)


@registered
@dataclasses.dataclass(frozen=True)
class RelationalDistance(BetweenExamples):
    """Huber(psi_teacher - psi_student) of the relative distances between examples (RKD-D).

    Park et al. 2019, arXiv:1904.05068. The scale of features doesn't matter. An example's value is the mean over its
    batch - 1 partners, so the mean over the batch is the paper's sum over ordered pairs, divided by batch * (batch -
    1); the authors' code divides by batch^2. A batch of 1 has no pairs and the value 0.

    Beside a cross entropy the usual weight is 25. The offsets take 4 * batch^2 * features bytes: prefer pooled layers.
    """

    def per_example(self, teacher_outputs: tf.Tensor, student_outputs: tf.Tensor) -> tf.Tensor:  # noqa: D102
        teacher = relative_distances(tf.stop_gradient(teacher_outputs))
        error = teacher - relative_distances(student_outputs)
        partners = tf.cast(tf.shape(error)[0], tf.float32) - 1
        return tf.reduce_sum(huber(error), axis=-1) / tf.maximum(partners, 1.0)


@registered
@dataclasses.dataclass(frozen=True)
class RelationalAngle(BetweenExamples):
    """Huber(cos_teacher - cos_student) of the angles between examples (RKD-A).

    Park et al. 2019, arXiv:1904.05068. Neither scale nor rotation of features matters. An example's value is the mean
    over the (batch - 1) * (batch - 2) ordered pairs of others that are seen from it, so the mean over the batch is the
    paper's sum over triples of different examples, divided by their number; the authors' code divides by batch^3. A
    batch of 1 or 2 has no triples and the value 0. An angle at or towards a coinciding example counts as a right one.

    Beside a cross entropy the usual weight is 50. Memory grows with the cube of the batch: 4 * batch^3 bytes for the
    cosines, several times (64 MB each at 256), beside 4 * batch^2 * features for the offsets.
    """

    def per_example(self, teacher_outputs: tf.Tensor, student_outputs: tf.Tensor) -> tf.Tensor:  # noqa: D102
        error = angles(tf.stop_gradient(teacher_outputs)) - angles(student_outputs)
        count = tf.shape(error)[0]
        error = tf.where(tf.eye(count, dtype=tf.bool), 0.0, error)  # i = k is no angle
        pairs = tf.cast((count - 1) * (count - 2), tf.float32)
        return tf.reduce_sum(huber(error), axis=[1, 2]) / tf.maximum(pairs, 1.0)


def _offsets(features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """f_i - f_j at [j, i] and its length, whose gradient is 0 (not NaN) where the two coincide."""
    features = vectors(features)
    offsets = features[tf.newaxis] - features[:, tf.newaxis]
    squares = tf.reduce_sum(tf.square(offsets), axis=-1)
    apart = squares > 0
    return offsets, tf.where(apart, tf.sqrt(tf.where(apart, squares, 1.0)), 0.0)
