"""What every objective is: where training examples come from, and what loss of them the weights descend."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import keras
import tensorflow as tf

from tfharden.attacks import GradientAttack
from tfharden.errors import InputError
from tfharden.losses import smoothed_cross_entropy
from tfharden.serialization import Configurable

Forward = Callable[[tf.Tensor], tf.Tensor]


class Outcome(NamedTuple):
    """What one training step computed.

    Attributes:
        loss: one value an example, `[batch]`.
        clean_logits: `[batch, classes]`, None where the objective has no use for them.
        adversarial_logits: likewise.
    """

    loss: tf.Tensor
    clean_logits: tf.Tensor | None = None
    adversarial_logits: tf.Tensor | None = None


class Batch(NamedTuple):
    """What `fit` brings in one step.

    Attributes:
        x: clean images, float32 `[batch, ...]`.
        y: true classes, int32 `[batch]`.
        sample_weight: `[batch]`, or None.
        extra: what a trainer of another kind needs beside them.
    """

    x: tf.Tensor
    y: tf.Tensor
    sample_weight: tf.Tensor | None = None
    extra: Any = None


class Trainer(Protocol):
    """What an objective needs of the trainer, which is a RobustModel."""

    model: keras.Model

    def logits_fn(self, x: tf.Tensor) -> tf.Tensor:
        """Logits in inference mode."""

    def next_seed(self) -> tf.Tensor:
        """int32 [2], another at every step."""

    def descend(
        self, batch: Batch, x_adversarial: tf.Tensor, *, by_images: bool = False
    ) -> tuple[tf.Tensor, Outcome, tf.Tensor | None]:
        """One update of the weights: loss, outcome, and with `by_images` the gradient by `x_adversarial`."""

    def add_weight(self, **settings: Any) -> keras.Variable:  # noqa: ANN401
        """A variable that is saved with the trainer."""


@dataclasses.dataclass(frozen=True)
class Objective(Configurable, abc.ABC):
    """A method of adversarial training; subclasses are frozen dataclasses of a few lines.

    Args:
        label_smoothing: share of each label that is spread evenly over the classes, in the training loss only: the
            attack climbs the loss of the true class. It can mask gradients, so evaluate with the margin and Square.
    """

    _: dataclasses.KW_ONLY
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_share("label_smoothing", self.label_smoothing)

    @property
    def attack(self) -> GradientAttack | None:
        """The attack that the objective brings, where RobustModel is to be given none."""
        return None

    def build(self, trainer: Trainer) -> None:
        """Puts into `trainer` what has to be saved with it."""

    def train(self, trainer: Trainer, attack: GradientAttack | None, batch: Batch) -> tuple[tf.Tensor, Outcome]:
        """One training step: examples are made, the weights descend; the step's loss and outcome."""
        x_adversarial = self.attacked(attack, trainer.logits_fn, batch.x, batch.y, trainer.next_seed())
        loss, outcome, _ = trainer.descend(batch, x_adversarial)
        return loss, outcome

    def attacked(
        self, attack: GradientAttack | None, logits_fn: Forward, x: tf.Tensor, y: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        """The training examples; `x` itself in natural training.

        Args:
            attack: RobustModel's or the objective's own, with the radius of this step.
            logits_fn: images to logits, in inference mode.
            x: clean images, `[batch, ...]`.
            y: true classes, `[batch]`.
            seed: int32 [2], another at every step.
        """
        return x if attack is None else attack.perturb(logits_fn, x, y, seed)

    @abc.abstractmethod
    def __call__(self, forward: Forward, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor) -> Outcome:
        """The loss of each example.

        Args:
            forward: images to logits, in training mode; called once, since BatchNormalization counts every call.
            x: clean images, `[batch, ...]`.
            x_adversarial: what the attack made of them.
            y: true classes, `[batch]`.
        """

    def cross_entropy(self, logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """The loss of the labels as `label_smoothing` leaves them, `[batch]`."""
        return smoothed_cross_entropy(logits, y, self.label_smoothing)


def on_both(forward: Forward, x: tf.Tensor, x_adversarial: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Logits of clean and adversarial images from one forward pass: BatchNormalization sees both as one batch."""
    clean, adversarial = tf.split(forward(tf.concat([x, x_adversarial], axis=0)), 2)
    return clean, adversarial


def check_share(name: str, value: float) -> None:
    """Refuses what lies outside [0, 1].

    Raises:
        InputError: so it does.
    """
    if not 0 <= value <= 1:
        raise InputError(f"{name}={value} has to lie in [0, 1]")


def check_least(name: str, value: float, least: float) -> None:
    """Refuses what is not finite, or less than `least`.

    Raises:
        InputError: so it is.
    """
    if not least <= value < float("inf"):
        raise InputError(f"{name}={value} has to be a finite number >= {least:g}")
