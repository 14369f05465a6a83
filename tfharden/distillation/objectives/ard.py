"""Adversarially robust distillation."""

import dataclasses

import tensorflow as tf

from tfharden.distillation.objectives.base import DistillationObjective, Lesson
from tfharden.hardening.objectives import Outcome
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class ARD(DistillationObjective):
    """distance(S(x_adv), T(x)): to be as right under attack as the teacher is at rest (Goldblum et al. 2020).

    x_adv climbs the student's cross entropy. Without an attack this is plain distillation.
    """

    needs_attack = False

    def __call__(self, lesson: Lesson, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor) -> Outcome:  # noqa: D102
        (student,), (teacher,) = lesson.student(x_adversarial), lesson.teacher(x)
        return Outcome(lesson.distance(student, teacher), adversarial_logits=student.logits)
