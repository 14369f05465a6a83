"""Adversarially robust distillation."""

import dataclasses

import tensorflow as tf

from tfharden.distillation.objectives.base import DistillationObjective
from tfharden.distillation.teaching_step import TeachingStep
from tfharden.hardening.trainer import Outcome
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class ARD(DistillationObjective):
    """distance(S(x_adv), T(x)): the student under attack answers as the teacher does on clean images.

    Goldblum et al. 2020, arXiv:1905.09747. x_adv climbs the student's cross entropy. Without an attack this is plain
    distillation.
    """

    needs_attack = False

    def __call__(  # noqa: D102
        self, step: TeachingStep, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor
    ) -> Outcome:
        (student,), (teacher,) = step.student(x_adversarial), step.teacher(x)
        return Outcome(step.distance(student, teacher), adversarial_logits=student.logits)
