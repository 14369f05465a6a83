"""Introspective adversarial distillation."""

import dataclasses

import tensorflow as tf

from tfharden._validation import check_number
from tfharden.distillation.objectives.base import DistillationObjective
from tfharden.distillation.teaching_step import TeachingStep
from tfharden.hardening.trainer import Outcome
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class IAD(DistillationObjective):
    """a * distance(S(x_adv), T(x)) + (1 - a) * distance(S(x_adv), S(x)), a = p_T(y | x_adv)^b.

    IAD-I of Zhu et al. 2022, arXiv:2106.04928. Where the teacher itself falls to the student's adversarial example, the
    student listens to its own clean answer instead, which is taken as it is (no gradient). Features have the teacher's
    term only. The authors begin with ARD for 60 of 200 epochs, until the student has answers worth listening to: train
    with ARD first, then with this.

    Args:
        trust: b; 0 trusts the teacher always, 0.1 in the authors' code.
    """

    trust: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("trust", self.trust, least=0)

    def __call__(  # noqa: D102
        self, step: TeachingStep, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor
    ) -> Outcome:
        clean, attacked = step.student(x, x_adversarial)
        teacher, misled = step.teacher(x, x_adversarial)
        trusted = tf.gather(tf.nn.softmax(misled.logits), y, batch_dims=1) ** self.trust
        own = step.distance_of_logits(attacked.logits, tf.stop_gradient(clean.logits))
        loss = trusted * step.distance(attacked, teacher) + (1 - trusted) * own
        return Outcome(loss, clean.logits, attacked.logits)
