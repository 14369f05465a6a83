"""Similarity-preserving distillation: similarities between the examples of a batch."""

import dataclasses

import tensorflow as tf

from tfharden.distillation.losses.base import BetweenExamples, vectors
from tfharden.serialization import registered


def similarities(features: tf.Tensor) -> tf.Tensor:
    """G = f f^T with rows of length 1, `[batch, batch]`; a row of zeros where the features are zeros."""
    features = vectors(features)
    return tf.math.l2_normalize(tf.matmul(features, features, transpose_b=True), axis=-1, epsilon=1e-20)


@registered
@dataclasses.dataclass(frozen=True)
class SimilarityPreserving(BetweenExamples):
    """|G_teacher - G_student|_F^2 / batch^2 of the similarities between examples.

    Tung and Mori 2019, arXiv:1907.09682. Neither scale nor rotation of features matters. An example's value is |row of
    the difference|^2 / batch, so the mean over the batch is the paper's loss, without its factor gamma. It is small, at
    most 4 / batch: beside a cross entropy the usual weight is 3,000.
    """

    def per_example(self, teacher_outputs: tf.Tensor, student_outputs: tf.Tensor) -> tf.Tensor:  # noqa: D102
        error = similarities(teacher_outputs) - similarities(student_outputs)
        # The mean over the row's entries is |row|^2 / batch.
        return tf.reduce_mean(tf.square(error), axis=-1)
