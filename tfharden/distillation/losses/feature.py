"""Hints: a teacher's inner features as targets."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tfharden.distillation.layers import Projection
from tfharden.distillation.losses.base import PerExampleLoss
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class Feature(PerExampleLoss):
    """|f_teacher - f_student|^2 / mean |f_teacher|^2, hints from inner layers.

    FitNets, Romero et al. 2015, arXiv:1412.6550. The division makes the loss a share of the teacher's energy in the
    batch, so that a weight means the same at every layer and for every teacher. Where the shapes differ, the Distiller
    pools the larger map and projects the student's channels; the projection is trained with the student and thrown
    away.

    Args:
        student_layer_name: layer of the student whose output is compared; `backbone/block3` for one of a nested model.
        teacher_layer_name: layer of the teacher.
        weight: factor in the Distiller's sum.
    """

    student_layer_name: str
    teacher_layer_name: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        self._check()

    def per_example(self, teacher_outputs: tf.Tensor, student_outputs: tf.Tensor) -> tf.Tensor:  # noqa: D102
        teacher, student = tf.cast(teacher_outputs, tf.float32), tf.cast(student_outputs, tf.float32)
        error = tf.reduce_mean(tf.square(teacher - student), axis=list(range(1, len(teacher.shape))))
        return error / tf.maximum(tf.reduce_mean(tf.square(teacher)), 1e-12)

    def adapter(self, student_shape: Sequence[int], teacher_shape: Sequence[int], seed: int) -> Projection:  # noqa: D102
        return Projection(student_shape, teacher_shape, seed)
