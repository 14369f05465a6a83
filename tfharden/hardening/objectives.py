"""What adversarial training minimises: an objective turns clean and adversarial images into one loss an example."""

import abc
import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfharden.configurable import Configurable, registered
from tfharden.errors import InputError
from tfharden.losses import cross_entropy


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


Forward = Callable[[tf.Tensor], tf.Tensor]


class Objective(Configurable, abc.ABC):
    """The loss that the weights descend; subclasses are frozen dataclasses of a few lines."""

    @abc.abstractmethod
    def __call__(self, forward: Forward, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor) -> Outcome:
        """The loss of each example.

        Args:
            forward: images to logits, in training mode; called as seldom as possible, since BatchNormalization
                counts every call.
            x: clean images, `[batch, ...]`.
            x_adversarial: what the attack made of them.
            y: true classes, `[batch]`.
        """


@registered
@dataclasses.dataclass(frozen=True)
class Madry(Objective):
    """J(x_adv, y): train on adversarial examples alone, the saddle point of Madry et al. 2018."""

    def __call__(self, forward: Forward, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor) -> Outcome:  # noqa: D102
        logits = forward(x_adversarial)
        return Outcome(cross_entropy(logits, y), adversarial_logits=logits)


@registered
@dataclasses.dataclass(frozen=True)
class Goodfellow(Objective):
    """alpha * J(x, y) + (1 - alpha) * J(x_adv, y), a mix of losses (Goodfellow, Shlens, Szegedy 2015).

    Clean and adversarial images go through the model as one batch, so BatchNormalization sees both, once.

    Args:
        alpha: weight of the clean loss, in [0, 1].
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha={self.alpha} has to lie in [0, 1]")

    def __call__(self, forward: Forward, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor) -> Outcome:  # noqa: D102
        clean, adversarial = tf.split(forward(tf.concat([x, x_adversarial], axis=0)), 2)
        loss = self.alpha * cross_entropy(clean, y) + (1 - self.alpha) * cross_entropy(adversarial, y)
        return Outcome(loss, clean, adversarial)


BY_NAME: dict[str, type[Objective]] = {"madry": Madry, "goodfellow": Goodfellow}


def get(name: str, **settings: float) -> Objective:
    """The objective of that name.

    Raises:
        InputError: an unknown name (the message lists the known ones), or settings that it refuses.
    """
    if name not in BY_NAME:
        raise InputError(f"unknown objective {name!r}: known are {', '.join(BY_NAME)}")
    return BY_NAME[name](**settings)
