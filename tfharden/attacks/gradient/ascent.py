"""The one ascent loop: steps up a loss, the core of FGSM, BIM, PGD, MI-FGSM, APGD and of adversarial training.

Pure TensorFlow without AutoGraph, so it runs inside a Keras `train_step` as well as in an evaluator's own function.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfharden.attacks.core.criteria import Criterion
from tfharden.errors import InputError
from tfharden.losses import Loss
from tfharden.threats import Threat
from tfharden.threats.base import image_axes

GRADIENT_SCALE = 1024.0

LogitsFn = Callable[[tf.Tensor], tf.Tensor]


class Iterate(NamedTuple):
    """One look at the loss: what a rule decides the next step by.

    Attributes:
        index: number of steps taken before, scalar int32.
        x: images `[batch, ...]`.
        origin: clean images.
        project: brings images into ball and box.
        values: loss, `[batch]`.
        gradient: of the loss, finite, in arbitrary units, `[batch, ...]`.
    """

    index: tf.Tensor
    x: tf.Tensor
    origin: tf.Tensor
    project: Callable[[tf.Tensor], tf.Tensor]
    values: tf.Tensor
    gradient: tf.Tensor


@dataclasses.dataclass(frozen=True)
class StepRule(abc.ABC):
    """How an ascent goes from one iterate to the next, within `threat`.

    What a rule remembers is a nest of tensors with the batch axis first, so that examples can be dropped on the way.
    """

    threat: Threat

    def begin(self, x: tf.Tensor) -> Any:  # noqa: ANN401
        """What the rule remembers before the first step."""
        return ()

    @abc.abstractmethod
    def step(self, seen: Iterate, state: Any) -> tuple[tf.Tensor, Any]:  # noqa: ANN401
        """The next iterate, in ball and box, and what the rule remembers."""


@dataclasses.dataclass(frozen=True)
class SteepestAscent(StepRule):
    """x <- project(x + size * steepest(gradient)): plain projected ascent."""

    size: float

    def step(self, seen: Iterate, state: Any) -> tuple[tf.Tensor, Any]:  # noqa: ANN401, D102
        return seen.project(self.threat.step(seen.x, seen.gradient, self.size)), state


class BestIterate(NamedTuple):
    """The best iterate of each example so far: the goal beats a miss, then the higher loss wins.

    Attributes:
        x: images `[batch, ...]`.
        value: their loss, `[batch]`.
        succeeded: whether the model answers as the goal asks, `[batch]`.
        zero_gradients: number of gradients that were zero or not finite over the whole image, `[batch]`.
    """

    x: tf.Tensor
    value: tf.Tensor
    succeeded: tf.Tensor
    zero_gradients: tf.Tensor

    @classmethod
    def empty(cls, x: tf.Tensor) -> "BestIterate":
        """A memory that any iterate improves."""
        batch = tf.shape(x)[:1]
        return cls(x, tf.fill(batch, x.dtype.min), tf.zeros(batch, tf.bool), tf.zeros(batch, tf.int32))

    def after(self, x: tf.Tensor, classes: tf.Tensor, values: tf.Tensor, criterion: Criterion) -> "BestIterate":
        """The memory once the iterate `x` has been seen."""
        succeeded = criterion.reached(classes)
        better = tf.where(succeeded == self.succeeded, values > self.value, succeeded)
        return BestIterate(
            # Chooses whole images, in half the time of tf.where with a condition that has to be broadcast.
            tf.raw_ops.Select(condition=better, x=x, y=self.x),
            tf.where(better, values, self.value),
            tf.logical_or(self.succeeded, succeeded),
            self.zero_gradients,
        )


def per_image(values: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """`values [batch]` in the shape `[batch, 1, ...]` that goes with the images `x`."""
    return tf.reshape(values, [-1] + [1] * (len(x.shape) - 1))


def judge(logits: tf.Tensor, criterion: Criterion, loss: Loss) -> tuple[tf.Tensor, tf.Tensor]:
    """The class and the loss of each example, both `[batch]`.

    A randomised model may answer several times, `[batch, draws, classes]`: then the loss is the mean over the draws,
    whose gradient is the mean of their gradients, and the class is that of the mean probabilities.
    """
    if logits.shape.rank == 2:  # noqa: PLR2004
        return tf.argmax(logits, axis=-1, output_type=tf.int32), criterion.values(loss, logits)
    draws = logits.shape[1]
    repeated = tf.nest.map_structure(lambda t: tf.repeat(t, draws, axis=0), criterion)
    values = repeated.values(loss, tf.reshape(logits, [-1, logits.shape[2]]))
    classes = tf.argmax(tf.reduce_mean(tf.nn.softmax(logits), axis=1), axis=-1, output_type=tf.int32)
    return classes, tf.reduce_mean(tf.reshape(values, [-1, draws]), axis=1)


def ascend(
    logits_fn: LogitsFn,
    x: tf.Tensor,
    origin: tf.Tensor,
    criterion: Criterion,
    *,
    rule: StepRule,
    loss: Loss,
    steps: int | tf.Tensor,
    first: int | tf.Tensor = 0,
    state: Any = None,  # noqa: ANN401
    memory: BestIterate | tuple[()] = (),
) -> tuple[tf.Tensor, Any, BestIterate | tuple[()]]:
    """Looks at the loss and takes a step of the rule, a number of times.

    Args:
        logits_fn: images to logits, in inference mode.
        x: where to go on from, `[batch, ...]`.
        origin: clean images round which the ball lies.
        criterion: true classes and targets, `[batch]`.
        rule: how to step.
        loss: per-example loss that is climbed.
        steps: number of steps.
        first: number of steps taken before.
        state: what the rule remembers from them; None at the beginning.
        memory: remembers the best of the iterates whose loss was computed, which is all but the last, as they land on
            the threat's lattice (`origin` has to lie on it); `()` for none.

    Returns:
        The last iterate, the rule's state, and the memory.

    Raises:
        InputError: the loss doesn't depend on the images through anything differentiable.
    """
    threat, project = rule.threat, rule.threat.projector(origin)

    def body(index: tf.Tensor, x: tf.Tensor, state: Any, memory: BestIterate | tuple[()]) -> tuple[Any, ...]:  # noqa: ANN401
        # What counts is what the device receives, so that is judged and differentiated; x itself keeps the fractions
        # of a lattice step.
        received = threat.round_to_lattice_in_ball(x, origin) if memory else x
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(received)
            classes, values = judge(logits_fn(received), criterion, loss)
        # Steps don't mind a factor, and in half precision a gradient without one underflows.
        gradient = tape.gradient(values, received, output_gradients=tf.fill(tf.shape(values), GRADIENT_SCALE))
        if gradient is None:
            raise InputError("the model gives no gradient to its input: use a score-based attack such as square")
        # A sum is one pass over the gradient, and looks suspicious wherever a closer look is worth its time. As a
        # product with ones it takes a third of the time of a reduction.
        rows = tf.reshape(gradient, [tf.shape(gradient)[0], -1])
        total = tf.linalg.matvec(rows, tf.ones([tf.shape(rows)[1]], rows.dtype))
        suspicious = tf.reduce_any((total == 0.0) | ~tf.math.is_finite(total))
        gradient, zero_gradients = tf.cond(
            suspicious, lambda: _inspect(gradient), lambda: (gradient, tf.zeros_like(total, tf.int32))
        )
        if memory:
            memory = memory.after(received, classes, values, criterion)
            memory = memory._replace(zero_gradients=memory.zero_gradients + zero_gradients)
        x, state = rule.step(Iterate(index, x, origin, project, values, gradient), state)
        return index + 1, x, state, memory

    state = rule.begin(x) if state is None else state
    variables = (tf.convert_to_tensor(first), x, state, memory)
    _, x, state, memory = tf.while_loop(lambda *_: True, body, variables, maximum_iterations=steps)
    return x, state, memory


def _inspect(gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The gradient with zeros for what isn't finite, and whether nothing but zeros is left, 0 or 1 for each image.

    One image with a gradient of NaN must not lose its place in the box, nor the loop its other images.
    """
    finite = tf.where(tf.math.is_finite(gradient), gradient, 0.0)
    return finite, tf.cast(tf.reduce_all(finite == 0.0, axis=image_axes(gradient)), tf.int32)
