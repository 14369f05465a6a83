"""Distillation losses: what a student is taught, as Keras' `DistillationLoss` objects with per-example values.

`per_example` is what our Distiller uses; `compute_loss`, its mean, serves Keras' own Distiller.
"""

import dataclasses

import keras
import tensorflow as tf

from tfharden.configurable import Configurable, registered
from tfharden.errors import InputError
from tfharden.losses import kl_divergence


class PerExampleLoss(Configurable, keras.distillation.DistillationLoss):
    """A distillation loss that keeps the examples apart, so that sample weights have something to weigh.

    Attributes:
        weight: factor of the loss in the Distiller's sum.
    """

    weight: float

    def per_example(self, teacher_outputs: tf.Tensor, student_outputs: tf.Tensor) -> tf.Tensor:
        """The loss of each example, `[batch]`, without the weight."""
        raise NotImplementedError(f"{type(self).__name__} has to define per_example()")

    def compute_loss(self, teacher_outputs: tf.Tensor, student_outputs: tf.Tensor, **_: object) -> tf.Tensor:
        """The mean over the batch, weighted: what `keras.distillation.Distiller` calls."""
        return self.weight * tf.reduce_mean(self.per_example(teacher_outputs, student_outputs))

    def _check_weight(self) -> None:
        if not self.weight >= 0:
            raise InputError(f"{type(self).__name__}: weight={self.weight} has to be >= 0")


@registered
@dataclasses.dataclass(frozen=True)
class SoftTarget(PerExampleLoss):
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)) on logits (Hinton, Vinyals, Dean 2015).

    T^2 keeps the gradient's size when T changes. KL is summed over classes and averaged over the batch. A hardened
    teacher is soft already, hence temperature 1; 4 suits a natural one.

    Args:
        temperature: T > 0.
        weight: factor in the Distiller's sum.
    """

    temperature: float = 1.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        self._check_weight()
        if not self.temperature > 0:
            raise InputError(f"SoftTarget: temperature={self.temperature} has to be > 0")

    def per_example(self, teacher_outputs: tf.Tensor, student_outputs: tf.Tensor) -> tf.Tensor:  # noqa: D102
        t = self.temperature
        return t**2 * kl_divergence(teacher_outputs / t, student_outputs / t)


@registered
@dataclasses.dataclass(frozen=True)
class Feature(PerExampleLoss):
    """|f_teacher - f_student|^2 / mean |f_teacher|^2, hints from inner layers (FitNets, Romero et al. 2015).

    The division makes the loss a share of the teacher's energy in the batch, so that a weight means the same at every
    layer and for every teacher. Where the shapes differ, the Distiller pools the larger map and projects the student's
    channels; the projection is trained with the student and thrown away.

    Args:
        student_layer_name: layer of the student whose output is compared.
        teacher_layer_name: layer of the teacher.
        weight: factor in the Distiller's sum.
    """

    student_layer_name: str
    teacher_layer_name: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        self._check_weight()

    def per_example(self, teacher_outputs: tf.Tensor, student_outputs: tf.Tensor) -> tf.Tensor:  # noqa: D102
        teacher, student = tf.cast(teacher_outputs, tf.float32), tf.cast(student_outputs, tf.float32)
        error = tf.reduce_mean(tf.square(teacher - student), axis=list(range(1, len(teacher.shape))))
        return error / tf.maximum(tf.reduce_mean(tf.square(teacher)), 1e-12)
