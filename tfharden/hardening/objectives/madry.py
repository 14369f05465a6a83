"""Madry's objective: training on adversarial examples alone."""

import dataclasses

import tensorflow as tf

from tfharden.hardening.objectives.base import Forward, Objective
from tfharden.hardening.trainer import Outcome
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class Madry(Objective):
    """J(x_adv, y): train on adversarial examples alone, the saddle point of Madry et al. 2018, arXiv:1706.06083."""

    def __call__(self, forward: Forward, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor) -> Outcome:  # noqa: D102
        logits = forward(x_adversarial)
        return Outcome(self.cross_entropy(logits, y), adversarial_logits=logits)
