"""Robust soft label adversarial distillation."""

import dataclasses

import tensorflow as tf

from tfharden.attacks import GradientAttack
from tfharden.distillation.objectives.base import DistillationObjective, Lesson, TaughtTrainer
from tfharden.hardening.objectives import Outcome
from tfharden.hardening.objectives.base import Batch, check_share
from tfharden.hardening.objectives.trades import away
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class RSLAD(DistillationObjective):
    """r * distance(S(x_adv), T(x)) + (1 - r) * distance(S(x), T(x)) (Zi et al. 2021).

    The teacher's answers replace labels everywhere: x_adv climbs KL(T(x) || S(x_adv)), from x and a little noise.

    Args:
        robust_share: r, 5/6 in the authors' code.
    """

    robust_share: float = 5 / 6

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("robust_share", self.robust_share)

    def examples(self, attack: GradientAttack, trainer: TaughtTrainer, batch: Batch) -> tf.Tensor:  # noqa: D102
        return away(attack, trainer.logits_fn, batch.x, trainer.teacher_logits(batch.x, batch), trainer.next_seed())

    def __call__(self, lesson: Lesson, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor) -> Outcome:  # noqa: D102
        clean, attacked = lesson.student(x, x_adversarial)
        (teacher,) = lesson.teacher(x)
        robust, natural = lesson.distance(attacked, teacher), lesson.distance(clean, teacher)
        loss = self.robust_share * robust + (1 - self.robust_share) * natural
        return Outcome(loss, clean.logits, attacked.logits)
