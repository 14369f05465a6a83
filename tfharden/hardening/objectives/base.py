"""Objective: how a method of adversarial training makes its examples, and what loss of them the weights descend."""

import abc
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfharden._validation import check_number
from tfharden.attacks import GradientAttack
from tfharden.hardening.trainer import Batch, Outcome, Trainer
from tfharden.losses import smoothed_cross_entropy
from tfharden.serialization import Configurable

Forward = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Objective(Configurable, abc.ABC):
    """A method of training; subclasses are frozen dataclasses of a few lines.

    `train_batch` is all that a trainer calls. It makes examples (`attacked`) and descends a loss (`outcome`, which is
    `__call__` on the model in training). A method of another kind overrides `train_batch` itself.

    Args:
        label_smoothing: share of each label that is spread evenly over the classes, in the training loss only: the
            attack climbs the loss of the true class. It can mask gradients, so evaluate with the margin and Square.

    Raises:
        InputError: a share outside [0, 1].

    Example:
        @dataclasses.dataclass(frozen=True)
        class CleanAndAttacked(Objective):
            def __call__(self, forward, x, x_adversarial, y):
                clean, attacked = on_both(forward, x, x_adversarial)
                return Outcome(self.cross_entropy(clean, y) + self.cross_entropy(attacked, y), clean, attacked)
    """

    _: dataclasses.KW_ONLY
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_number("label_smoothing", self.label_smoothing, least=0, most=1)

    @property
    def attack(self) -> GradientAttack | None:
        """The attack that the objective brings, where RobustModel is to be given none."""
        return None

    @property
    def fixed_models(self) -> tuple[keras.Model, ...]:
        """Models that the objective uses and never changes; they are saved with the trainer."""
        return ()

    def build(self, trainer: Trainer) -> Any:  # noqa: ANN401
        """What the objective keeps from step to step, made by `trainer.add_weight`; it is `trainer.objective_state`.

        Raises:
            InputError: a trainer that the objective can't train.
        """
        return None

    def train_batch(self, trainer: Trainer, batch: Batch) -> tuple[tf.Tensor, Outcome]:
        """One training step: examples are made, the weights descend.

        Returns:
            The step's mean loss, and what was computed.
        """
        x_adversarial = self.attacked(trainer, batch)
        loss, outcome, _ = trainer.descend(batch, functools.partial(self.outcome, trainer, batch, x_adversarial))
        return loss, outcome

    def attacked(self, trainer: Trainer, batch: Batch) -> tf.Tensor:
        """The training examples, `[batch, ...]`; the clean images themselves in natural training."""
        attack = trainer.current_attack()
        if attack is None:
            return batch.x
        return attack.perturb(trainer.logits_fn, batch.x, batch.y, trainer.next_seed())

    def outcome(self, trainer: Trainer, batch: Batch, x_adversarial: tf.Tensor) -> Outcome:
        """The loss of each example of a batch, from the model in training mode."""
        return self(trainer.forward, batch.x, x_adversarial, batch.y)

    @abc.abstractmethod
    def __call__(self, forward: Any, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor) -> Outcome:  # noqa: ANN401
        """The loss of each example.

        Args:
            forward: images to logits, in training mode; called once, since BatchNormalization counts every call. In
                distillation the `TeachingStep`.
            x: clean images, `[batch, ...]`.
            x_adversarial: what `attacked` made of them.
            y: true classes, `[batch]`.
        """

    def cross_entropy(self, logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """The loss of the labels as `label_smoothing` leaves them, `[batch]`."""
        return smoothed_cross_entropy(logits, y, self.label_smoothing)


def on_both(forward: Forward, x: tf.Tensor, x_adversarial: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Logits of clean and adversarial images from one forward pass: BatchNormalization sees both as one batch."""
    clean, adversarial = tf.split(forward(tf.concat([x, x_adversarial], axis=0)), 2)
    return clean, adversarial
