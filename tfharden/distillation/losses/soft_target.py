"""Soft targets: the teacher's probabilities at a temperature."""

import dataclasses

import tensorflow as tf

from tfharden._validation import check_number
from tfharden.distillation.losses.base import PerExampleLoss
from tfharden.losses import kl_divergence
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class SoftTarget(PerExampleLoss):
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)) on logits.

    Hinton, Vinyals and Dean 2015, arXiv:1503.02531. T^2 keeps the gradient's size when T changes. KL is summed over
    classes and averaged over the batch. A hardened teacher is soft already, hence temperature 1; 4 suits a natural one.

    Args:
        temperature: T > 0.
        weight: factor in the Distiller's sum.
        student_layer_name: layer of the student that gives logits, for a further head; the classifier's by default.
        teacher_layer_name: layer of the teacher, likewise.
    """

    temperature: float = 1.0
    weight: float = 1.0
    student_layer_name: str | None = None
    teacher_layer_name: str | None = None

    on_logits = True

    def __post_init__(self) -> None:
        self._check()
        check_number("SoftTarget: temperature", self.temperature, above=0)

    def per_example(self, teacher_outputs: tf.Tensor, student_outputs: tf.Tensor) -> tf.Tensor:  # noqa: D102
        t = self.temperature
        teacher, student = tf.cast(teacher_outputs, tf.float32) / t, tf.cast(student_outputs, tf.float32) / t
        return t**2 * kl_divergence(teacher, student)
