"""Sparse steps of Auto-PGD, for L1 balls: a step changes few values, and how many is learnt on the way."""

import dataclasses
from typing import NamedTuple, Self

import tensorflow as tf

from tfharden.attacks.gradient.ascent import Iterate, StepRule
from tfharden.threats import Threat
from tfharden.threats.base import image_axes, per_image

PERIOD_SHARE = 0.04  # steps between two checkpoints, as a share of all steps
INITIAL_SHARE = 0.2  # of the values that a step changes
SPARSITY_FACTOR = 1.5  # how many times fewer values a step changes than the best point does
# At a checkpoint the size is divided by the first number, down to epsilon divided by the second.
SIZE_DECREASE, SMALLEST_SIZE_DIVISOR = 1.5, 10.0
SETTLED_SHARE = 0.95  # from this share of the values that the best point changed at the last checkpoint


class SparseAPGDState(NamedTuple):
    """State of the rule for each example, `[batch]` or `[batch, ...]`."""

    size: tf.Tensor
    spread: tf.Tensor
    changed: tf.Tensor
    best: tf.Tensor
    best_value: tf.Tensor
    best_gradient: tf.Tensor


@dataclasses.dataclass(frozen=True)
class SparseAPGDStep(StepRule):
    """Steps along the values with the largest slopes; how many is learnt from the best point so far.

    At each checkpoint a step is set to change 1.5 times fewer values than the best point so far does. While that
    point becomes sparser the size is reset to epsilon and the ascent goes on from there, else the size shrinks
    (Croce and Hein 2021, arXiv:2103.01208).

    Args:
        steps: number of steps that the checkpoints are laid out for.
        smallest_size: length below which the steps don't shrink.
    """

    steps: int
    smallest_size: float

    @classmethod
    def over(cls, threat: Threat, steps: int) -> Self:
        """The rule of the paper for that number of steps."""
        return cls(threat, steps, threat.epsilon / SMALLEST_SIZE_DIVISOR)

    def init(self, x: tf.Tensor) -> SparseAPGDState:  # noqa: D102
        batch = tf.shape(x)[:1]
        values = tf.cast(tf.size(x[0]), x.dtype)
        return SparseAPGDState(
            size=tf.fill(batch, tf.cast(self.threat.epsilon, x.dtype)),
            spread=tf.fill(batch, tf.maximum(INITIAL_SHARE * values, 1.0)),
            changed=tf.fill(batch, values),
            best=x,
            best_value=tf.fill(batch, x.dtype.min),
            best_gradient=tf.zeros_like(x),
        )

    def update(self, iterate: Iterate, state: SparseAPGDState) -> tuple[tf.Tensor, SparseAPGDState]:  # noqa: D102
        better = iterate.values > state.best_value
        here = per_image(better, iterate.x)
        state = state._replace(
            best=tf.where(here, iterate.x, state.best),
            best_value=tf.where(better, iterate.values, state.best_value),
            best_gradient=tf.where(here, iterate.gradient, state.best_gradient),
        )
        due = (iterate.index > 0) & (iterate.index % max(int(PERIOD_SHARE * self.steps), 1) == 0)
        x, gradient, state = tf.cond(
            due, lambda: self._checkpoint(iterate, state), lambda: (iterate.x, iterate.gradient, state)
        )
        moved = self.threat.step(x, gradient, per_image(state.size, x), per_image(state.spread, x))
        return iterate.project(moved), state

    def _checkpoint(self, iterate: Iterate, state: SparseAPGDState) -> tuple[tf.Tensor, tf.Tensor, SparseAPGDState]:
        """Where to go on from, the gradient there, and the state with size and spread of the next steps."""
        x = iterate.x
        changed = tf.reduce_sum(tf.cast(state.best != iterate.project.origin, x.dtype), axis=image_axes(x))
        sparser = changed < SETTLED_SHARE * state.changed
        restart = per_image(sparser, x)
        smaller = tf.maximum(state.size / SIZE_DECREASE, self.smallest_size)
        checked = state._replace(
            size=tf.where(sparser, self.threat.epsilon, smaller),
            spread=tf.maximum(changed / SPARSITY_FACTOR, 1.0),
            changed=changed,
        )
        best_gradient = tf.where(restart, state.best_gradient, iterate.gradient)
        return tf.where(restart, state.best, x), best_gradient, checked
