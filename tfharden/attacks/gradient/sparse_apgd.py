"""Sparse ascent in L1 balls: Auto-PGD's rule for a norm whose steps change few values."""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from tfharden.attacks.gradient.ascent import Iterate, StepRule, per_image
from tfharden.threats.base import image_axes

PERIOD = 0.04  # between checkpoints, as a share of all steps
INITIAL_SHARE = 0.2  # of the values that a step changes
SPARSER = 1.5  # how many times fewer values a step changes than the best point does
SHRINK, LEAST = 1.5, 10.0  # the size falls by this factor, down to epsilon / LEAST
SETTLED = 0.95  # from this share of the values that the best point changed at the last checkpoint


class Course(NamedTuple):
    """What the rule remembers of each example, `[batch]` or `[batch, ...]`."""

    size: tf.Tensor
    spread: tf.Tensor
    changed: tf.Tensor
    best: tf.Tensor
    best_value: tf.Tensor
    best_gradient: tf.Tensor


@dataclasses.dataclass(frozen=True)
class SparseAPGDStep(StepRule):
    """Steps along the values with the largest slopes; how many is learnt from the best point (Croce and Hein 2021).

    At each checkpoint a step is set to change 1.5 times fewer values than the best point so far does. While that
    point becomes sparser the size is reset to epsilon and the ascent goes on from there, else the size shrinks.

    Args:
        steps: number of steps that the checkpoints are laid out for.
    """

    steps: int

    def begin(self, x: tf.Tensor) -> Course:  # noqa: D102
        batch = tf.shape(x)[:1]
        values = tf.cast(tf.size(x[0]), x.dtype)
        return Course(
            size=tf.fill(batch, tf.cast(self.threat.epsilon, x.dtype)),
            spread=tf.fill(batch, tf.maximum(INITIAL_SHARE * values, 1.0)),
            changed=tf.fill(batch, values),
            best=x,
            best_value=tf.fill(batch, x.dtype.min),
            best_gradient=tf.zeros_like(x),
        )

    def step(self, seen: Iterate, state: Course) -> tuple[tf.Tensor, Course]:  # noqa: D102
        better = seen.values > state.best_value
        here = per_image(better, seen.x)
        state = state._replace(
            best=tf.where(here, seen.x, state.best),
            best_value=tf.where(better, seen.values, state.best_value),
            best_gradient=tf.where(here, seen.gradient, state.best_gradient),
        )
        due = (seen.index > 0) & (seen.index % max(int(PERIOD * self.steps), 1) == 0)
        x, gradient, state = tf.cond(due, lambda: self._check(seen, state), lambda: (seen.x, seen.gradient, state))
        moved = self.threat.step(x, gradient, per_image(state.size, x), per_image(state.spread, x))
        return seen.project(moved), state

    def _check(self, seen: Iterate, state: Course) -> tuple[tf.Tensor, tf.Tensor, Course]:
        epsilon, axes = self.threat.epsilon, image_axes(seen.x)
        changed = tf.reduce_sum(tf.cast(state.best != seen.origin, seen.x.dtype), axis=axes)
        sparser = changed < SETTLED * state.changed
        restart = per_image(sparser, seen.x)
        checked = state._replace(
            size=tf.where(sparser, epsilon, tf.maximum(state.size / SHRINK, epsilon / LEAST)),
            spread=tf.maximum(changed / SPARSER, 1.0),
            changed=changed,
        )
        return (
            tf.where(restart, state.best, seen.x),
            tf.where(restart, state.best_gradient, seen.gradient),
            checked,
        )
