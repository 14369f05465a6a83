"""Momentum iterative FGSM."""

import dataclasses
from typing import Any

import tensorflow as tf

from tfharden.attacks.gradient.ascent import Iterate, StepRule
from tfharden.attacks.gradient.bim import BIM
from tfharden.serialization import registered
from tfharden.threats.base import TINY, image_axes


@dataclasses.dataclass(frozen=True)
class Momentum(StepRule):
    """g <- decay * g + gradient / |gradient|_1;  x <- project(x + size * steepest(g))."""

    size: float
    decay: float

    def init(self, x: tf.Tensor) -> Any:  # noqa: ANN401, D102
        return tf.zeros_like(x)

    def update(self, iterate: Iterate, state: Any) -> tuple[tf.Tensor, Any]:  # noqa: ANN401, D102
        # The mean stands for the sum of each image's own values: a factor that all of its steps share.
        scale = tf.reduce_mean(tf.abs(iterate.gradient), axis=image_axes(iterate.x), keepdims=True)
        state = self.decay * state + iterate.gradient / tf.maximum(scale, TINY)
        return iterate.project(self.threat.step(iterate.x, state, self.size)), state


@registered
@dataclasses.dataclass(frozen=True)
class MIFGSM(BIM):
    """BIM along a running sum of normalised gradients, whose examples transfer better.

    Dong et al. 2018, arXiv:1710.06081.

    Args:
        threat: ball and box.
        steps: gradients an example.
        step_size: length of a step; epsilon / steps by default, as in the paper.
        decay: how much of the sum is kept at each step, mu in the paper; 0 gives BIM.
    """

    decay: float = 1.0

    name = "mi-fgsm"
    rule_fields = ("step_size", "decay")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_number("decay", least=0)

    @property
    def resolved_step_size(self) -> float:  # noqa: D102
        return self.threat.epsilon / self.steps if self.step_size is None else self.step_size

    @property
    def rule(self) -> StepRule:  # noqa: D102
        return Momentum(self.threat, self.resolved_step_size, self.decay)
