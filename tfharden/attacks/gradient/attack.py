"""Attacks by gradient ascent: what FGSM, BIM, PGD, MI-FGSM and APGD share."""

import copy
import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.attack import Attack
from tfharden.attacks.core.best_iterate import BestIterate
from tfharden.attacks.core.compiled import traced
from tfharden.attacks.core.criteria import Criterion, Targeted, Untargeted, criterion_value, tensor_specs
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.core.value_and_gradient import LogitsFn, ValueFn
from tfharden.attacks.gradient.ascent import SteepestAscent, StepRule, ascend
from tfharden.classifiers import BATCH_SIZE, Classifier
from tfharden.losses import Loss, cross_entropy
from tfharden.threats import Threat

# Steps of one call of a compiled ascent. Between two calls the examples that have fallen are dropped, which costs one
# synchronisation with the host.
STEPS_PER_CALL = 5

# Ascents before the main one: the number of steps and the rule of each.
WarmUp = Sequence[tuple[int, StepRule]]


@dataclasses.dataclass(frozen=True)
class GradientAttack(Attack):
    """Ascent of `loss` within `threat`; subclasses fix start, steps and step rule.

    Args:
        threat: ball and box.
        loss: per-example loss that is climbed; for a target, its targeted form.
        seed: of the random starts of an evaluation.
        early_exit: drop an example as soon as it falls; without it every step is taken and the highest loss kept.
        restarts: ascents an example in an evaluation; all but the first start at random.
    """

    threat: Threat
    _: dataclasses.KW_ONLY
    loss: Loss = cross_entropy
    seed: int = 0
    early_exit: bool = True
    restarts: int = 1

    access = "white-box"
    kind = "ascent"
    steps = 1
    # Fields that nothing but `rule` reads, so that what is compiled doesn't depend on them.
    rule_fields: ClassVar[tuple[str, ...]] = ()

    _renamed = Attack._renamed | {"stride": "resolved_step_size"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("steps", "restarts")

    @property
    def resolved_step_size(self) -> float:
        """Length of one step, in the threat's norm."""
        return self.threat.epsilon

    def scaled(self, share: float | tf.Tensor) -> Self:
        """The same attack in a ball of `share` times the radius, as `Threat.scaled` makes it."""
        return self._in(self.threat.scaled(share))

    @property
    def rule(self) -> StepRule:
        """The step rule of the ascent."""
        return SteepestAscent(self.threat, self.resolved_step_size)

    @property
    def warm_up(self) -> WarmUp:
        """Ascents that `start` makes, paid from `steps`."""
        return ()

    @property
    def prelude(self) -> int:
        """Steps of the warm-up."""
        return sum(steps for steps, _ in self.warm_up)

    def perturb(
        self,
        logits_fn: LogitsFn,
        x: tf.Tensor,
        y: tf.Tensor,
        seed: tf.Tensor | None = None,
        targets: tf.Tensor | None = None,
        *,
        draws: int = 1,
    ) -> tf.Tensor:
        """Adversarial images for training: for `x [batch, ...]` with labels `y [batch]`, in one graph.

        Takes the last iterate, as the training literature does: judging it would cost one more forward pass.

        Args:
            logits_fn: images to logits, in inference mode.
            x: clean images.
            y: true classes.
            seed: int32 [2] of the random start; the attack's own seed by default, the same at every call.
            targets: classes to move towards, `[batch]`; away from the true ones without.
            draws: answers of a randomised model that a gradient averages.
        """
        seed = tf.constant([self.seed, 0]) if seed is None else tf.cast(seed, tf.int32)
        y = tf.cast(y, tf.int32)
        criterion = Untargeted(y) if targets is None else Targeted(y, tf.cast(targets, tf.int32))
        value_fn = criterion_value(logits_fn, criterion, self.loss, draws)
        start = self.start(value_fn, x, seed, self.random_start, self.warm_up)
        steps = self.steps - self.prelude
        return tf.stop_gradient(ascend(value_fn, start, self.rule.threat.projector(x), self.rule, steps).x)

    def start(
        self, value_fn: ValueFn, origin: tf.Tensor, seed: tf.Tensor, at_random: bool | tf.Tensor, warm_up: WarmUp
    ) -> tf.Tensor:
        """Images from which the ascent starts: the clean ones or random ones, after the ascents of the warm-up."""
        if isinstance(at_random, bool):
            x = self.threat.random_start(origin, seed) if at_random else origin
        else:
            x = tf.cond(at_random, lambda: self.threat.random_start(origin, seed), lambda: origin)
        for steps, rule in warm_up:
            project = rule.threat.projector(origin)
            x = ascend(value_fn, project(x), project, rule, steps, best=BestIterate.empty(x)).best.x
        return x

    def _prepare(self, classifier: Classifier, draws: int = 1) -> Callable[[SearchState], None]:
        classifier.require_gradients()

        def run(search: SearchState) -> None:
            kind = type(search.criterion)
            compiled = classifier.compiled(
                self._compiled_key(kind, draws), lambda: _CompiledAscent(self, classifier, kind, draws)
            )
            self._search_with(compiled, search)

        return run

    def _in(self, threat: Threat) -> Self:
        """The same attack under another threat, unchecked."""
        changed = copy.copy(self)
        object.__setattr__(changed, "threat", threat)
        return changed

    @property
    def _rules(self) -> list[StepRule]:
        return [self.rule, *(rule for _, rule in self.warm_up)]

    def _compiled_key(self, kind: type[Criterion], draws: int) -> Hashable:
        """All that a compiled ascent depends on; numbers are its arguments."""
        arguments = {"threat", "seed", "early_exit", "restarts", *self.rule_fields}
        names = [field.name for field in dataclasses.fields(self) if field.name not in arguments]
        rules = tuple(rule.with_numbers([0.0] * len(rule.numbers)) for rule in self._rules)
        return type(self), tuple(getattr(self, name) for name in names), rules, kind, draws

    def _search_with(self, compiled: "_CompiledAscent", search: SearchState) -> None:
        best = np.full(len(search.solved), -np.inf, np.float32)
        numbers = tf.constant([number for rule in self._rules for number in rule.numbers], tf.float32)
        for restart in range(self.restarts):
            chosen = search.unsolved if self.early_exit else np.arange(len(search.solved))
            for first in range(0, len(chosen), BATCH_SIZE):
                self._ascend(compiled, numbers, search, chosen[first : first + BATCH_SIZE], best, restart)
                search.report((restart + min(1.0, (first + BATCH_SIZE) / len(chosen))) / self.restarts)

    def _ascend(
        self,
        compiled: "_CompiledAscent",
        numbers: tf.Tensor,
        search: SearchState,
        chosen: np.ndarray,
        best_values: np.ndarray,
        restart: int,
    ) -> None:
        """One restart on the examples `chosen`; survivors are packed after each call."""
        origin = tf.constant(search.origin[chosen])
        criterion = tf.nest.map_structure(lambda array: tf.constant(array[chosen]), search.criterion)
        seed = search.seed(self.seed, restart, int(chosen[0]))
        x, state = compiled.begin(origin, criterion, seed, tf.constant(restart > 0), numbers)
        best = BestIterate.empty(x)
        search.gradients[chosen] += self.prelude
        taken, total = 0, self.steps - self.prelude
        while taken < total and len(chosen):
            steps = min(total - taken, STEPS_PER_CALL) if self.early_exit else total
            x, state, best, zero_gradients = compiled.advance(
                x, origin, criterion, state, best, tf.constant(taken), tf.constant(steps), numbers
            )
            taken += steps
            search.gradients[chosen] += steps
            search.zero_gradients[chosen] += zero_gradients.numpy()
            over = taken == total
            if over:
                best = compiled.conclude(x, origin, criterion, best)
                search.queries[chosen] += 1
            done = best.reached.numpy() if self.early_exit and not over else np.full(len(chosen), over)
            if not done.any():
                continue
            found = tf.nest.map_structure(lambda t, done=done: t.numpy()[done], best)
            _keep_better(search, chosen[done], best_values, found)
            keep = np.flatnonzero(~done)
            chosen = chosen[keep]
            x, origin, criterion, state, best = tf.nest.map_structure(
                lambda t, keep=keep: tf.gather(t, keep), (x, origin, criterion, state, best)
            )


class _CompiledAscent:
    """The compiled parts of one attack on one classifier; the batch axis is free, so each is traced once.

    `numbers` are those of all rules of the attack, in a row.
    """

    def __init__(self, attack: GradientAttack, classifier: Classifier, kind: type[Criterion], draws: int) -> None:
        images, whole = tf.TensorSpec([None, *classifier.input_shape], tf.float32), tf.TensorSpec([], tf.int32)
        criteria, numbers = tensor_specs(kind), tf.TensorSpec([sum(len(rule.numbers) for rule in attack._rules)])

        def rules_of(numbers: tf.Tensor) -> list[StepRule]:
            rules, left = [], tf.unstack(numbers)
            for rule in attack._rules:
                rules.append(rule.with_numbers(left[: len(rule.numbers)]))
                left = left[len(rule.numbers) :]
            return rules

        def value_fn(criterion: Criterion) -> ValueFn:
            return criterion_value(classifier.logits_fn, criterion, attack.loss, draws)

        def begin(
            origin: tf.Tensor, criterion: Criterion, seed: tf.Tensor, at_random: tf.Tensor, numbers: tf.Tensor
        ) -> tuple[tf.Tensor, Any]:
            rule, *others = rules_of(numbers)
            warm_up = [(steps, other) for (steps, _), other in zip(attack.warm_up, others, strict=True)]
            bound, at_random = attack._in(rule.threat), attack.random_start or at_random
            x = bound.start(value_fn(criterion), origin, seed, at_random, warm_up)
            return x, rule.init(x)

        self.begin = traced(begin, images, criteria, tf.TensorSpec([2], tf.int32), tf.TensorSpec([], tf.bool), numbers)
        _, state = self.begin.structured_outputs
        # The state of a rule has the batch axis first, and that is free.
        states = tf.nest.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), state)

        def advance(
            x: tf.Tensor,
            origin: tf.Tensor,
            criterion: Criterion,
            state: Any,  # noqa: ANN401
            best: BestIterate,
            first: tf.Tensor,
            steps: tf.Tensor,
            numbers: tf.Tensor,
        ) -> tuple[Any, ...]:
            rule = rules_of(numbers)[0]
            project = rule.threat.projector(origin)
            return tuple(ascend(value_fn(criterion), x, project, rule, steps, first=first, state=state, best=best))

        def conclude(x: tf.Tensor, origin: tf.Tensor, criterion: Criterion, best: BestIterate) -> BestIterate:
            x = attack.threat.round_to_lattice_in_ball(x, origin)
            return best.update(x, *value_fn(criterion)(x))

        bests = BestIterate.specs(images)
        self.advance = traced(advance, images, images, criteria, states, bests, whole, whole, numbers)
        self.conclude = traced(conclude, images, images, criteria, bests)


def _keep_better(search: SearchState, indices: np.ndarray, best_values: np.ndarray, found: BestIterate) -> None:
    """Writes what one restart found into the search where it beats what earlier restarts found."""
    solved_before = search.solved[indices]
    better = np.where(found.reached == solved_before, found.score > best_values[indices], found.reached)
    search.adversarial[indices[better]] = found.x[better]
    best_values[indices[better]] = found.score[better]
    search.solved[indices] |= found.reached
