"""Robust soft label adversarial distillation."""

import dataclasses

import tensorflow as tf

from tfharden._validation import check_number
from tfharden.distillation.objectives.base import DistillationObjective
from tfharden.distillation.teaching_step import TeachingStep
from tfharden.hardening.objectives.trades import away
from tfharden.hardening.trainer import Batch, Outcome, Trainer
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class RSLAD(DistillationObjective):
    """r * distance(S(x_adv), T(x)) + (1 - r) * distance(S(x), T(x)) .

    Zi et al. 2021, arXiv:2108.07969. The teacher's answers replace labels everywhere: x_adv climbs KL(T(x) ||
    S(x_adv)), from x and a little noise.

    Args:
        robust_share: r, 5/6 in the authors' code.
    """

    robust_share: float = 5 / 6

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("robust_share", self.robust_share, least=0, most=1)

    def attacked(self, trainer: Trainer, batch: Batch) -> tf.Tensor:  # noqa: D102
        teacher = batch.extra.teacher_logits(batch.x)
        return away(trainer.require_attack(), trainer.logits_fn, batch.x, teacher, trainer.next_seed())

    def __call__(  # noqa: D102
        self, step: TeachingStep, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor
    ) -> Outcome:
        clean, attacked = step.student(x, x_adversarial)
        (teacher,) = step.teacher(x)
        robust, natural = step.distance(attacked, teacher), step.distance(clean, teacher)
        loss = self.robust_share * robust + (1 - self.robust_share) * natural
        return Outcome(loss, clean.logits, attacked.logits)
