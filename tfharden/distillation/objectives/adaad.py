"""Adaptive adversarial distillation."""

import dataclasses

import tensorflow as tf

from tfharden._validation import check_number
from tfharden.attacks import ascend
from tfharden.attacks.core.criteria import predicted_classes
from tfharden.distillation.objectives.base import DistillationObjective
from tfharden.distillation.teaching_step import TeachingStep
from tfharden.hardening.objectives.trades import noisy
from tfharden.hardening.trainer import Batch, Outcome, Trainer
from tfharden.losses import kl_divergence
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class AdaAD(DistillationObjective):
    """r * distance(S(x_adv), T(x_adv)) + (1 - r) * distance(S(x), T(x)) (Huang et al. 2023).

    x_adv climbs KL(T(x_adv) || S(x_adv)) from x and a little noise; the gradient goes through the teacher too, which
    makes a step of the attack as dear as one of each. The teacher has to be smooth round the images, that is robust.

    Args:
        robust_share: r; 1 in the authors' code.
    """

    robust_share: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("robust_share", self.robust_share, least=0, most=1)

    def attacked(self, trainer: Trainer, batch: Batch) -> tf.Tensor:  # noqa: D102
        attack = trainer.require_attack()

        def value_fn(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            student, teacher = trainer.logits_fn(images), batch.extra.teacher_logits(images)
            return kl_divergence(teacher, student), predicted_classes(student) != predicted_classes(teacher)

        start = noisy(attack.threat, batch.x, trainer.next_seed())
        last = ascend(value_fn, start, attack.threat.projector(batch.x), attack.rule, attack.steps).x
        return tf.stop_gradient(last)

    def __call__(  # noqa: D102
        self, step: TeachingStep, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor
    ) -> Outcome:
        images = (x_adversarial,) if self.robust_share == 1 else (x_adversarial, x)
        students, teachers = step.student(*images), step.teacher(*images)
        shares = (self.robust_share, 1 - self.robust_share)
        terms = [s * step.distance(*pair) for s, *pair in zip(shares, students, teachers, strict=False)]
        clean = students[1].logits if len(students) > 1 else None
        return Outcome(tf.add_n(terms), clean, students[0].logits)
