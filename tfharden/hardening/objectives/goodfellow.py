"""Goodfellow's objective: a mix of clean and adversarial loss."""

import dataclasses

import tensorflow as tf

from tfharden._validation import check_number
from tfharden.hardening.objectives.base import Forward, Objective, on_both
from tfharden.hardening.trainer import Outcome
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class Goodfellow(Objective):
    """alpha * J(x, y) + (1 - alpha) * J(x_adv, y).

    Goodfellow, Shlens and Szegedy 2015, arXiv:1412.6572.

    Args:
        alpha: weight of the clean loss, in [0, 1].
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, least=0, most=1)

    def __call__(self, forward: Forward, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor) -> Outcome:  # noqa: D102
        clean, adversarial = on_both(forward, x, x_adversarial)
        loss = self.alpha * self.cross_entropy(clean, y) + (1 - self.alpha) * self.cross_entropy(adversarial, y)
        return Outcome(loss, clean, adversarial)
