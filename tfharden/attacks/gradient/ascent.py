"""Ascent loop: steps up any value function within a ball, the core of FGSM, BIM, PGD, MI-FGSM and APGD.

Pure TensorFlow without AutoGraph, so it runs inside a Keras `train_step` as well as in an evaluator's own function.
"""

import abc
import copy
import dataclasses
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import tensorflow as tf

from tfharden.attacks.core.best_iterate import BestIterate
from tfharden.attacks.core.value_and_gradient import ValueFn, value_and_gradient
from tfharden.threats import Threat
from tfharden.threats.base import Projector


class Iterate(NamedTuple):
    """What a step rule decides the next step by.

    Attributes:
        index: number of steps taken before, scalar int32.
        x: images `[batch, ...]`.
        values: of the value function there, `[batch]`.
        gradient: of the values, finite, in arbitrary units, `[batch, ...]`.
        project: brings images into ball and box; `project.origin` are the clean images.
    """

    index: tf.Tensor
    x: tf.Tensor
    values: tf.Tensor
    gradient: tf.Tensor
    project: Projector


@dataclasses.dataclass(frozen=True)
class StepRule(abc.ABC):
    """A rule by which an ascent goes from one iterate to the next; subclasses are frozen dataclasses.

    Its state is a nest of tensors with the batch axis first, so that examples can be dropped on the way. Its numbers
    are arguments of compiled functions: within a graph the radius of the ball and all fields that are floats are
    float32 scalars.
    """

    threat: Threat

    def init(self, x: tf.Tensor) -> Any:  # noqa: ANN401
        """The state before the first step, from images `x`."""
        return ()

    @abc.abstractmethod
    def update(self, iterate: Iterate, state: Any) -> tuple[tf.Tensor, Any]:  # noqa: ANN401
        """The next images, in ball and box, and the next state."""

    @property
    def numbers(self) -> list[float]:
        """The radius of the ball, and the fields that are floats."""
        return [self.threat.epsilon, *(getattr(self, name) for name in self._number_names)]

    def with_numbers(self, values: Sequence[float | tf.Tensor]) -> Self:
        """The same rule with other numbers, in the order of `numbers`; tensors too, so nothing is checked."""
        epsilon, *others = values
        changed = copy.copy(self)
        object.__setattr__(changed, "threat", self.threat.with_epsilon(epsilon))
        for name, value in zip(self._number_names, others, strict=True):
            object.__setattr__(changed, name, value)
        return changed

    @property
    def _number_names(self) -> list[str]:
        return [
            field.name
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), numbers.Real)
            and not isinstance(value, bool)
            and (field.type in (float, "float") or not isinstance(value, numbers.Integral))
        ]


@dataclasses.dataclass(frozen=True)
class SteepestAscent(StepRule):
    """x <- project(x + size * steepest(gradient)): plain projected ascent."""

    size: float

    def update(self, iterate: Iterate, state: Any) -> tuple[tf.Tensor, Any]:  # noqa: ANN401, D102
        return iterate.project(self.threat.step(iterate.x, iterate.gradient, self.size)), state


class Ascent(NamedTuple):
    """Where an ascent has come to.

    Attributes:
        x: the last iterate, whose value has not been computed, `[batch, ...]`.
        state: of the step rule.
        best: a `BestIterate` of the other iterates, as the device receives them; `()` if it wasn't kept.
        zero_gradients: number of gradients that were zero or not finite over the whole image, int32 `[batch]`.
    """

    x: tf.Tensor
    state: Any
    best: Any
    zero_gradients: tf.Tensor


def ascend(
    value_fn: ValueFn,
    x: tf.Tensor,
    project: Projector,
    rule: StepRule,
    steps: int | tf.Tensor,
    *,
    first: int | tf.Tensor = 0,
    state: Any = None,  # noqa: ANN401
    best: BestIterate | tuple[()] = (),
) -> Ascent:
    """Computes value and gradient and takes a step of the rule, a number of times.

    Args:
        value_fn: from images to what is climbed, `[batch]`, and whether the criterion is reached there, `[batch]`.
            Labels, losses and models are closed over.
        x: where to start, `[batch, ...]`.
        project: `threat.projector(origin)`, which brings images into ball and box.
        rule: step rule.
        steps: number of steps.
        first: number of steps taken before.
        state: the rule's state after them; None at the beginning.
        best: the best iterate so far, such as `BestIterate.empty(x)`, to keep the best of the iterates whose value is
            computed, which is all but the last, as the device receives them: rounded to the threat's lattice, on which
            the clean images have to lie.

    Raises:
        InputError: the values don't depend on the images through anything differentiable.

    Example:
        threat = Linf(0.1)
        value_fn = criterion_value(model, Untargeted(labels), cross_entropy)
        ascend(value_fn, x, threat.projector(x), SteepestAscent(threat, 0.025), steps=10).x
    """

    def body(
        index: tf.Tensor,
        x: tf.Tensor,
        state: Any,  # noqa: ANN401
        best: BestIterate | tuple[()],
        zero_gradients: tf.Tensor,
    ) -> tuple[Any, ...]:
        # What counts is what the device receives, so the value is taken there; x itself keeps the fractions of a
        # lattice step.
        received = project.received(x) if best else x
        seen = value_and_gradient(value_fn, received)
        if best:
            best = best.update(received, seen.values, seen.reached)
        x, state = rule.update(Iterate(index, x, seen.values, seen.gradient, project), state)
        zero_gradients = tf.ensure_shape(zero_gradients + seen.zero_gradients, zero_gradients.shape)
        return index + 1, x, state, best, zero_gradients

    state = rule.init(x) if state is None else state
    variables = (tf.convert_to_tensor(first), x, state, best, tf.zeros(tf.shape(x)[:1], tf.int32))
    _, *reached = tf.while_loop(lambda *_: True, body, variables, maximum_iterations=steps)
    return Ascent(*reached)
