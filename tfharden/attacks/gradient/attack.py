"""Attacks by gradient ascent: the two doors that FGSM, BIM, PGD, MI-FGSM and APGD share."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.attack import Attack
from tfharden.attacks.core.criteria import Criterion, Targeted, Untargeted
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.gradient.ascent import BestIterate, LogitsFn, SteepestAscent, StepRule, ascend, judge
from tfharden.classifiers import BATCH_SIZE, Classifier
from tfharden.losses import Loss, cross_entropy
from tfharden.threats import Threat

# Steps between two looks at which examples have fallen: a look costs one synchronisation with the host.
STRIDE = 5


@dataclasses.dataclass(frozen=True)
class GradientAttack(Attack):
    """Ascent on `loss` within `threat`; subclasses fix start, steps and the rule of a step.

    Args:
        threat: ball and box.
        loss: per-example loss that is climbed; for a target, its targeted form.
        seed: of the random starts at the evaluator's door.
        early_exit: drop an example as soon as it falls; without it every step is taken and the highest loss kept.
        restarts: ascents an example, at the evaluator's door; all but the first start at random.
    """

    threat: Threat
    _: dataclasses.KW_ONLY
    loss: Loss = cross_entropy
    seed: int = 0
    early_exit: bool = True
    restarts: int = 1

    access = "white-box"
    steps: ClassVar[int] = 1
    prelude: ClassVar[int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("steps", "restarts")

    @property
    def resolved_step_size(self) -> float:
        """Length of one step, in the threat's norm."""
        return self.threat.epsilon

    def scaled(self, share: float | tf.Tensor) -> Self:
        """The same attack in a ball of `share` times the radius, as `Threat.scaled` makes it."""
        scaled = copy.copy(self)
        object.__setattr__(scaled, "threat", self.threat.scaled(share))
        return scaled

    @property
    def rule(self) -> StepRule:
        """How one iterate follows from another."""
        return SteepestAscent(self.threat, self.resolved_step_size)

    def perturb(
        self,
        logits_fn: LogitsFn,
        x: tf.Tensor,
        y: tf.Tensor,
        seed: tf.Tensor | None = None,
        targets: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The door for training: adversarial images for `x [batch, ...]`, labels `y [batch]`, in one graph.

        Takes the last iterate, as the training literature does: judging it would cost one more forward pass.

        Args:
            logits_fn: images to logits, in inference mode.
            x: clean images.
            y: true classes.
            seed: int32 [2] of the random start; the attack's own seed by default, the same at every call.
            targets: classes to move towards, `[batch]`; away from the true ones without.
        """
        seed = tf.constant([self.seed, 0]) if seed is None else tf.cast(seed, tf.int32)
        y = tf.cast(y, tf.int32)
        criterion = Untargeted(y) if targets is None else Targeted(y, tf.cast(targets, tf.int32))
        start = self.start(logits_fn, x, criterion, seed, self.random_start)
        steps = self.steps - self.prelude
        last, *_ = ascend(logits_fn, start, x, criterion, rule=self.rule, loss=self.loss, steps=steps)
        return tf.stop_gradient(last)

    def start(
        self, logits_fn: LogitsFn, origin: tf.Tensor, criterion: Criterion, seed: tf.Tensor, at_random: bool | tf.Tensor
    ) -> tf.Tensor:
        """Where an ascent begins: at the clean image, or at random; `prelude` gradients may have been spent on it."""
        if isinstance(at_random, bool):
            return self.threat.random_start(origin, seed) if at_random else origin
        return tf.cond(at_random, lambda: self.threat.random_start(origin, seed), lambda: origin)

    def _prepare(self, classifier: Classifier) -> Callable[[SearchState], None]:
        if not classifier.differentiable:
            classifier.logits_fn(tf.zeros([1, *classifier.input_shape]))  # says why, by its error

        def run(search: SearchState) -> None:
            kind = type(search.criterion)
            # The seed is a number among others to what is compiled.
            key = (dataclasses.replace(self, seed=0), kind)
            self._search_with(classifier.compiled(key, lambda: _Ascent(self, classifier, kind)), search)

        return run

    def _search_with(self, ascent: "_Ascent", search: SearchState) -> None:
        best = np.full(len(search.solved), -np.inf, np.float32)
        for restart in range(self.restarts):
            chosen = search.unsolved if self.early_exit else np.arange(len(search.solved))
            for first in range(0, len(chosen), BATCH_SIZE):
                self._climb(ascent, search, chosen[first : first + BATCH_SIZE], best, restart)
                search.report((restart + min(1.0, (first + BATCH_SIZE) / len(chosen))) / self.restarts)

    def _climb(
        self, ascent: "_Ascent", search: SearchState, chosen: np.ndarray, best: np.ndarray, restart: int
    ) -> None:
        """One restart on the examples `chosen`; survivors are packed at each look."""
        origin = tf.constant(search.origin[chosen])
        criterion = tf.nest.map_structure(lambda array: tf.constant(array[chosen]), search.criterion)
        seed = search.seed(self.seed, restart, int(chosen[0]))
        x, state = ascent.begin(origin, criterion, seed, tf.constant(restart > 0))
        memory = BestIterate.empty(x)
        search.gradients[chosen] += self.prelude
        taken, total = 0, self.steps - self.prelude
        while taken < total and len(chosen):
            steps = min(total - taken, STRIDE) if self.early_exit else total
            x, state, memory = ascent.advance(
                x, origin, criterion, state, memory, tf.constant(taken), tf.constant(steps)
            )
            taken += steps
            search.gradients[chosen] += steps
            over = taken == total
            if over:
                memory = ascent.conclude(x, origin, criterion, memory)
                search.queries[chosen] += 1
            done = memory.succeeded.numpy() if self.early_exit and not over else np.full(len(chosen), over)
            if not done.any():
                continue
            _settle(search, chosen[done], best, tf.nest.map_structure(lambda t, done=done: t.numpy()[done], memory))
            keep = np.flatnonzero(~done)
            chosen = chosen[keep]
            x, origin, criterion, state, memory = tf.nest.map_structure(
                lambda t, keep=keep: tf.gather(t, keep), (x, origin, criterion, state, memory)
            )


class _Ascent:
    """The compiled parts of one attack on one classifier; the batch axis is free, so each is traced once."""

    def __init__(self, attack: GradientAttack, classifier: Classifier, kind: type[Criterion]) -> None:
        rule, loss, logits_fn = attack.rule, attack.loss, classifier.logits_fn
        images, whole = tf.TensorSpec([None, *classifier.input_shape], tf.float32), tf.TensorSpec([], tf.int32)
        numbers, counts = tf.TensorSpec([None], tf.float32), tf.TensorSpec([None], tf.int32)
        goals = kind(*[counts] * len(kind._fields))
        memories = BestIterate(images, numbers, tf.TensorSpec([None], tf.bool), counts)

        def begin(
            origin: tf.Tensor, criterion: Criterion, seed: tf.Tensor, at_random: tf.Tensor
        ) -> tuple[tf.Tensor, Any]:
            x = attack.start(logits_fn, origin, criterion, seed, attack.random_start or at_random)
            return x, rule.begin(x)

        self.begin = _compiled(begin, images, goals, tf.TensorSpec([2], tf.int32), tf.TensorSpec([], tf.bool))
        _, state = self.begin.structured_outputs
        # Whatever a rule remembers has the batch axis first, and that is free.
        states = tf.nest.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), state)

        def advance(
            x: tf.Tensor,
            origin: tf.Tensor,
            criterion: Criterion,
            state: Any,  # noqa: ANN401
            memory: BestIterate,
            first: tf.Tensor,
            steps: tf.Tensor,
        ) -> tuple[tf.Tensor, Any, BestIterate]:
            settings = {"rule": rule, "loss": loss, "first": first, "steps": steps, "state": state, "memory": memory}
            return ascend(logits_fn, x, origin, criterion, **settings)

        def conclude(x: tf.Tensor, origin: tf.Tensor, criterion: Criterion, memory: BestIterate) -> BestIterate:
            x = attack.threat.round_to_lattice_in_ball(x, origin)
            return memory.after(x, *judge(logits_fn(x), criterion, loss), criterion)

        self.advance = _compiled(advance, images, images, goals, states, memories, whole, whole)
        self.conclude = _compiled(conclude, images, images, goals, memories)


def _compiled(function: Callable[..., Any], *signature: Any) -> Any:  # noqa: ANN401
    return tf.function(function, input_signature=signature, autograph=False).get_concrete_function()


def _settle(search: SearchState, indices: np.ndarray, best: np.ndarray, memory: BestIterate) -> None:
    """Writes what one restart found into the search where it beats what earlier restarts found."""
    search.zero_gradients[indices] += memory.zero_gradients
    fell_before = search.solved[indices]
    better = np.where(memory.succeeded == fell_before, memory.value > best[indices], memory.succeeded)
    search.adversarial[indices[better]] = memory.x[better]
    best[indices[better]] = memory.value[better]
    search.solved[indices] |= memory.succeeded
