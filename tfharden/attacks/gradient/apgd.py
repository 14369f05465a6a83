"""Auto-PGD: projected gradient ascent that sets its own step size."""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from tfharden.attacks.core.criteria import Criterion
from tfharden.attacks.gradient.ascent import BestIterate, Iterate, LogitsFn, StepRule, ascend, per_image
from tfharden.attacks.gradient.attack import GradientAttack
from tfharden.attacks.gradient.sparse_apgd import SparseAPGDStep
from tfharden.losses import Loss, difference_of_logits_ratio
from tfharden.serialization import registered
from tfharden.threats import L1, Threat

MOMENTUM = 0.75
RISING_SHARE = 0.75  # rho: of the steps since the last checkpoint, those that have to raise the loss
FIRST, SHORTER, SHORTEST = 0.22, 0.03, 0.06  # lengths of the periods between checkpoints, as shares of all steps
# In L1 the ascent begins in larger balls: shares of all steps, and how many times epsilon (Croce and Hein 2021).
WARM_UP = ((0.3, 3.0), (0.3, 2.0))


class Course(NamedTuple):
    """What Auto-PGD remembers of each example, `[batch]` or `[batch, ...]`."""

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
    halved there and no better point has been found since (Croce and Hein 2020, conditions 1 and 2).

    Args:
        steps: number of steps that the checkpoints are laid out for.
    """

    steps: int

    def periods(self) -> list[int]:
        """For each number of steps taken, the length of the period that ends there; 0 where none does."""
        ends, length, end = [0] * (self.steps + 1), max(int(FIRST * self.steps), 1), 0
        while (end := end + length) <= self.steps:
            ends[end] = length
            length = max(length - max(int(SHORTER * self.steps), 1), int(SHORTEST * self.steps), 1)
        return ends

    def begin(self, x: tf.Tensor) -> Course:  # noqa: D102
        batch = tf.shape(x)[:1]
        low = tf.fill(batch, x.dtype.min)
        return Course(
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

    def step(self, seen: Iterate, state: Course) -> tuple[tf.Tensor, Course]:  # noqa: D102
        better = seen.values > state.best_value
        here = per_image(better, seen.x)
        state = state._replace(
            value=seen.values,
            rises=state.rises + tf.cast(seen.values > state.value, tf.int32),
            best=tf.where(here, seen.x, state.best),
            best_value=tf.where(better, seen.values, state.best_value),
            best_gradient=tf.where(here, seen.gradient, state.best_gradient),
        )
        period = tf.gather(tf.constant(self.periods()), seen.index)
        x, gradient, state = tf.cond(
            period > 0,
            lambda: self._check(seen, state, period),
            lambda: (seen.x, seen.gradient, state),
        )
        aim = seen.project(self.threat.step(x, gradient, per_image(state.size, x)))
        share = tf.where(seen.index == 0, 1.0, MOMENTUM)
        following = seen.project(x + share * (aim - x) + (1 - share) * (x - state.previous))
        return following, state._replace(previous=x)

    def _check(self, seen: Iterate, state: Course, period: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Course]:
        few_rises = tf.cast(state.rises, tf.float32) <= RISING_SHARE * tf.cast(period, tf.float32)
        stuck = ~state.halved & (state.value_at_check >= state.best_value)
        halve = few_rises | stuck
        restart = per_image(halve, seen.x)
        checked = state._replace(
            size=tf.where(halve, state.size / 2, state.size),
            rises=tf.zeros_like(state.rises),
            value_at_check=state.best_value,
            halved=halve,
        )
        return (
            tf.where(restart, state.best, seen.x),
            tf.where(restart, state.best_gradient, seen.gradient),
            checked,
        )


@registered
@dataclasses.dataclass(frozen=True)
class APGD(GradientAttack):
    """Auto-PGD on the cross entropy, without a step size to choose (Croce and Hein 2020; in L1 Croce and Hein 2021).

    Args:
        threat: ball and box.
        steps: gradients an example and restart.
    """

    steps: int = 100

    name = "apgd-ce"
    random_start = True

    @property
    def rule(self) -> StepRule:  # noqa: D102
        return self._rule(self.threat, self.steps - self.prelude)

    @property
    def prelude(self) -> int:  # noqa: D102
        return sum(steps for steps, _ in self._warm_up)

    @property
    def _warm_up(self) -> list[tuple[int, float]]:
        """Steps in larger balls, and how many times larger their radius is."""
        if not isinstance(self.threat, L1):
            return []
        return [(int(share * self.steps), factor) for share, factor in WARM_UP]

    def _rule(self, threat: Threat, steps: int) -> StepRule:
        return (SparseAPGDStep if isinstance(threat, L1) else APGDStep)(threat, steps)

    def start(  # noqa: D102
        self, logits_fn: LogitsFn, origin: tf.Tensor, criterion: Criterion, seed: tf.Tensor, at_random: bool | tf.Tensor
    ) -> tf.Tensor:
        x = super().start(logits_fn, origin, criterion, seed, at_random)
        for steps, factor in self._warm_up:
            rule = self._rule(self.threat.scaled(factor), steps)
            memory, settings = BestIterate.empty(x), {"rule": rule, "loss": self.loss, "steps": steps}
            *_, memory = ascend(logits_fn, rule.threat.project(x, origin), origin, criterion, memory=memory, **settings)
            x = memory.x
        return self.threat.project(x, origin)


@registered
@dataclasses.dataclass(frozen=True)
class APGDDLR(APGD):
    """Auto-PGD on the difference of logits ratio, which a model's confidence doesn't flatten (Croce and Hein 2020)."""

    loss: Loss = dataclasses.field(default=difference_of_logits_ratio, kw_only=True)

    name = "apgd-dlr"
