"""What every method of robust distillation is: which images student and teacher answer, and what the attack climbs."""

import abc
import dataclasses
from typing import NamedTuple, Protocol

import tensorflow as tf

from tfharden.attacks import GradientAttack
from tfharden.errors import InputError
from tfharden.hardening.objectives import Objective, Outcome
from tfharden.hardening.objectives.base import Batch, Trainer


class Answers(NamedTuple):
    """What a model makes of some images.

    Attributes:
        logits: `[batch, classes]`, float32.
        features: outputs of its inner layers, in the order of the losses that compare them.
    """

    logits: tf.Tensor
    features: tuple[tf.Tensor, ...] = ()


class Lesson(Protocol):
    """One step's teaching, as an objective sees it."""

    def student(self, *images: tf.Tensor) -> list[Answers]:
        """The student's answers to each batch, from one forward pass in training mode; to be called once.

        BatchNormalization sees all of them as one batch.
        """

    def teacher(self, *images: tf.Tensor) -> list[Answers]:
        """The teacher's, in inference mode, without gradient."""

    def distance(self, student: Answers, teacher: Answers) -> tf.Tensor:
        """The sum of the distillation losses, each with its weight, `[batch]`."""

    def distance_of_logits(self, student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
        """The sum of those that compare logits alone."""


class TaughtTrainer(Trainer, Protocol):
    """A trainer with a teacher, which is a Distiller."""

    attack: GradientAttack | None

    def teacher_logits(self, images: tf.Tensor, batch: Batch) -> tf.Tensor:
        """The teacher's logits for images made of a batch, in inference mode."""


@dataclasses.dataclass(frozen=True)
class DistillationObjective(Objective, abc.ABC):
    """A method of distillation; subclasses are frozen dataclasses of a few lines.

    In all of them the attack sees student and teacher in inference mode, and the divergence is summed over classes
    and averaged over the batch. (PyTorch's KLDivLoss, which the authors' code of several methods uses, divides by the
    number of classes too: weights from there are to be divided by it here.)
    """

    needs_attack = True

    def build(self, trainer: TaughtTrainer) -> None:  # noqa: D102
        if self.needs_attack and trainer.attack is None:
            raise InputError(f"{type(self).__name__} teaches on attacked images: give the Distiller an attack")

    def train(  # noqa: D102
        self, trainer: TaughtTrainer, attack: GradientAttack | None, batch: Batch
    ) -> tuple[tf.Tensor, Outcome]:
        x_adversarial = batch.x if attack is None else self.examples(attack, trainer, batch)
        loss, outcome, _ = trainer.descend(batch, x_adversarial)
        return loss, outcome

    def examples(self, attack: GradientAttack, trainer: TaughtTrainer, batch: Batch) -> tf.Tensor:
        """The training examples: what the attack makes of the batch against the student and its labels."""
        return attack.perturb(trainer.logits_fn, batch.x, batch.y, trainer.next_seed())

    @abc.abstractmethod
    def __call__(self, lesson: Lesson, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor) -> Outcome:
        """The loss of each example.

        Args:
            lesson: answers of student and teacher, and how far they are apart.
            x: clean images, `[batch, ...]`.
            x_adversarial: what `examples` made of them.
            y: true classes, `[batch]`.
        """
