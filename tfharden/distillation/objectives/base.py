"""Objective of robust distillation: which images student and teacher answer, and what the attack climbs."""

import abc
import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfharden.distillation.teaching_step import TeachingStep
from tfharden.errors import InputError
from tfharden.hardening.objectives.base import Objective
from tfharden.hardening.trainer import Batch, Outcome, Trainer


@dataclasses.dataclass(frozen=True)
class DistillationObjective(Objective, abc.ABC):
    """A method of distillation; subclasses are frozen dataclasses of a few lines.

    In all of them the attack sees student and teacher in inference mode, and the divergence is summed over classes
    and averaged over the batch. (PyTorch's KLDivLoss, which the authors' code of several methods uses, divides by the
    number of classes too: weights from there are to be divided by it here.)

    Args:
        label_smoothing: share of each label that is spread evenly over the classes, in the Distiller's term of the
            labels; refused where `label_weight` is 0.
    """

    needs_attack: ClassVar[bool] = True

    def build(self, trainer: Trainer) -> None:
        """Keeps nothing.

        Raises:
            InputError: no attack where the method needs one.
        """
        if self.needs_attack and trainer.attack is None:
            raise InputError(f"{type(self).__name__} teaches on attacked images: give the Distiller an attack")

    def outcome(self, trainer: Trainer, batch: Batch, x_adversarial: tf.Tensor) -> Outcome:
        """The loss of each example: the method's, and the weighted cross entropy with the labels."""
        step: TeachingStep = batch.extra
        outcome = self(step, batch.x, x_adversarial, batch.y)
        if not step.label_weight:
            return outcome
        labels = step.label_weight * self.cross_entropy(outcome.adversarial_logits, batch.y)
        return outcome._replace(loss=outcome.loss + labels)

    @abc.abstractmethod
    def __call__(self, step: TeachingStep, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor) -> Outcome:
        """The loss of each example, without that of the labels.

        Args:
            step: answers of student and teacher, and how far they are apart.
            x: clean images, `[batch, ...]`.
            x_adversarial: what `attacked` made of them.
            y: true classes, `[batch]`.
        """
