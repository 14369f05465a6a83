"""Momentum iterative FGSM."""

import dataclasses
import math
import numbers
from typing import Any

import tensorflow as tf

from tfharden.attacks.gradient.ascent import Iterate, StepRule
from tfharden.attacks.gradient.bim import BIM
from tfharden.errors import InputError
from tfharden.serialization import registered
from tfharden.threats.base import TINY, image_axes


@dataclasses.dataclass(frozen=True)
class Momentum(StepRule):
    """g <- decay * g + gradient / |gradient|_1;  x <- project(x + size * steepest(g))."""

    size: float
    decay: float

    def begin(self, x: tf.Tensor) -> Any:  # noqa: ANN401, D102
        return tf.zeros_like(x)

    def step(self, seen: Iterate, state: Any) -> tuple[tf.Tensor, Any]:  # noqa: ANN401, D102
        # The mean stands for the sum of each image's own values: a factor that all of its steps share.
        scale = tf.reduce_mean(tf.abs(seen.gradient), axis=image_axes(seen.x), keepdims=True)
        state = self.decay * state + seen.gradient / tf.maximum(scale, TINY)
        return seen.project(self.threat.step(seen.x, state, self.size)), state


@registered
@dataclasses.dataclass(frozen=True)
class MIFGSM(BIM):
    """BIM along a running sum of normalised gradients, whose examples transfer better (Dong et al. 2018).

    Args:
        threat: ball and box.
        steps: gradients an example.
        step_size: length of a step; epsilon / steps by default, as in the paper.
        decay: how much of the sum is kept at each step, mu in the paper; 0 gives BIM.
    """

    decay: float = 1.0

    name = "mi-fgsm"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.decay, numbers.Real) and math.isfinite(self.decay) and self.decay >= 0):
            raise InputError(f"{self.name}: decay={self.decay!r} has to be a number >= 0")

    @property
    def resolved_step_size(self) -> float:  # noqa: D102
        return self.threat.epsilon / self.steps if self.step_size is None else self.step_size

    @property
    def rule(self) -> StepRule:  # noqa: D102
        return Momentum(self.threat, self.resolved_step_size, self.decay)
