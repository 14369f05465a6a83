"""Auto-PGD: projected gradient ascent that sets its own step size."""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from tfharden.attacks.core.value_and_gradient import ValueFn
from tfharden.attacks.gradient.ascent import Iterate, StepRule
from tfharden.attacks.gradient.attack import GradientAttack, WarmUp
from tfharden.attacks.gradient.sparse_apgd import SparseAPGDStep
from tfharden.losses import Loss, difference_of_logits_ratio
from tfharden.serialization import registered
from tfharden.threats import Threat
from tfharden.threats.base import per_image

MOMENTUM = 0.75
RISING_SHARE = 0.75  # rho: of the steps since the last checkpoint, those that have to raise the loss
# Lengths of the periods between checkpoints, as shares of all steps: the first, by how much each is shorter than the
# one before, and the shortest.
FIRST_PERIOD, PERIOD_DECREASE, SHORTEST_PERIOD = 0.22, 0.03, 0.06
# In L1 the ascent begins in larger balls: shares of all steps, and how many times epsilon (Croce and Hein 2021).
SPARSE_WARM_UP = ((0.3, 3.0), (0.3, 2.0))


class APGDState(NamedTuple):
    """State of Auto-PGD for each example, `[batch]` or `[batch, ...]`."""

    size: tf.Tensor
    previous: tf.Tensor
    value: tf.Tensor
    rises: tf.Tensor
    best: tf.Tensor
    best_value: tf.Tensor
    best_gradient: tf.Tensor
    value_at_check: tf.Tensor
    halved: tf.Tensor


@dataclasses.dataclass(frozen=True)
class APGDStep(StepRule):
    """Steps with momentum whose size is halved, from the best point so far, where the loss has stopped to rise.

    z = project(x + size * steepest(gradient));  x <- project(x + 0.75 (z - x) + 0.25 (x - x_previous)). At each
    checkpoint the size is halved if no more than 75% of the steps since the last one raised the loss, or if it wasn't
    halved there and no better point has been found since (Croce and Hein 2020, arXiv:2003.01690, conditions 1 and 2).

    Args:
        steps: number of steps that the checkpoints are laid out for.
    """

    steps: int

    def periods(self) -> list[int]:
        """For each number of steps taken, the length of the period that ends there; 0 where none does."""
        ends, length, end = [0] * (self.steps + 1), max(int(FIRST_PERIOD * self.steps), 1), 0
        while (end := end + length) <= self.steps:
            ends[end] = length
            length = max(length - max(int(PERIOD_DECREASE * self.steps), 1), int(SHORTEST_PERIOD * self.steps), 1)
        return ends

    def init(self, x: tf.Tensor) -> APGDState:  # noqa: D102
        batch = tf.shape(x)[:1]
        low = tf.fill(batch, x.dtype.min)
        return APGDState(
            size=tf.fill(batch, tf.cast(2 * self.threat.epsilon, x.dtype)),
            previous=x,
            value=tf.fill(batch, x.dtype.max),
            rises=tf.zeros(batch, tf.int32),
            best=x,
            best_value=low,
            best_gradient=tf.zeros_like(x),
            value_at_check=low,
            halved=tf.ones(batch, tf.bool),
        )

    def update(self, iterate: Iterate, state: APGDState) -> tuple[tf.Tensor, APGDState]:  # noqa: D102
        better = iterate.values > state.best_value
        here = per_image(better, iterate.x)
        state = state._replace(
            value=iterate.values,
            rises=state.rises + tf.cast(iterate.values > state.value, tf.int32),
            best=tf.where(here, iterate.x, state.best),
            best_value=tf.where(better, iterate.values, state.best_value),
            best_gradient=tf.where(here, iterate.gradient, state.best_gradient),
        )
        period = tf.gather(tf.constant(self.periods()), iterate.index)
        x, gradient, state = tf.cond(
            period > 0,
            lambda: self._checkpoint(iterate, state, period),
            lambda: (iterate.x, iterate.gradient, state),
        )
        aim = iterate.project(self.threat.step(x, gradient, per_image(state.size, x)))
        share = tf.where(iterate.index == 0, 1.0, MOMENTUM)
        following = iterate.project(x + share * (aim - x) + (1 - share) * (x - state.previous))
        return following, state._replace(previous=x)

    def _checkpoint(
        self, iterate: Iterate, state: APGDState, period: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, APGDState]:
        """Where to go on from, the gradient there, and the state with the size of the next steps."""
        few_rises = tf.cast(state.rises, tf.float32) <= RISING_SHARE * tf.cast(period, tf.float32)
        stuck = ~state.halved & (state.value_at_check >= state.best_value)
        halve = few_rises | stuck
        restart = per_image(halve, iterate.x)
        checked = state._replace(
            size=tf.where(halve, state.size / 2, state.size),
            rises=tf.zeros_like(state.rises),
            value_at_check=state.best_value,
            halved=halve,
        )
        return (
            tf.where(restart, state.best, iterate.x),
            tf.where(restart, state.best_gradient, iterate.gradient),
            checked,
        )


@registered
@dataclasses.dataclass(frozen=True)
class APGD(GradientAttack):
    """Auto-PGD on the cross entropy, without a step size to choose.

    Croce and Hein 2020, arXiv:2003.01690; in L1 Croce and Hein 2021, arXiv:2103.01208.

    Args:
        threat: ball and box.
        steps: gradients an example and restart.
    """

    steps: int = 100

    name = "apgd-ce"
    random_start = True

    @property
    def rule(self) -> StepRule:  # noqa: D102
        return _rule(self.threat, self.steps - self.prelude)

    @property
    def warm_up(self) -> WarmUp:
        """In L1, ascents in larger balls."""
        if not self.threat.sparse_steps:
            return ()
        stages = [(int(share * self.steps), factor) for share, factor in SPARSE_WARM_UP]
        return [(steps, _rule(self.threat.scaled(factor), steps)) for steps, factor in stages]

    def start(  # noqa: D102
        self, value_fn: ValueFn, origin: tf.Tensor, seed: tf.Tensor, at_random: bool | tf.Tensor, warm_up: WarmUp
    ) -> tf.Tensor:
        return self.threat.project(super().start(value_fn, origin, seed, at_random, warm_up), origin)


def _rule(threat: Threat, steps: int) -> StepRule:
    return SparseAPGDStep.over(threat, steps) if threat.sparse_steps else APGDStep(threat, steps)


@registered
@dataclasses.dataclass(frozen=True)
class APGDDLR(APGD):
    """Auto-PGD on the difference of logits ratio, which a model's confidence doesn't flatten.

    Croce and Hein 2020, arXiv:2003.01690.
    """

    loss: Loss = dataclasses.field(default=difference_of_logits_ratio, kw_only=True)

    name = "apgd-dlr"
