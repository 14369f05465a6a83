"""Ascent trace: a projected gradient ascent of which every iterate is shown to the classifier itself."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.best_iterate import BestIterate
from tfharden.attacks.core.compiled import traced
from tfharden.attacks.core.criteria import Untargeted, criterion_value
from tfharden.attacks.gradient.ascent import SteepestAscent, ascend
from tfharden.classifiers import Classifier
from tfharden.losses import Loss
from tfharden.threats import Threat

# Steps, each of 2.5 * epsilon / steps: a random start may be 2 * epsilon from the corner that it climbs to. With 40 the
# loss of sound models still moves at the end.
STEPS, CROSSINGS = 100, 2.5


@dataclasses.dataclass(frozen=True, eq=False)
class CheckImages:
    """Images that a check may attack.

    Attributes:
        classifier: what was evaluated.
        x: images as it receives them, `[n, ...]`.
        y: true labels, `[n]`.
        threat: as the classifier meets it.
        seed: of all random numbers.
    """

    classifier: Classifier
    x: np.ndarray
    y: np.ndarray
    threat: Threat
    seed: int = 0

    def rng(self, *key: int) -> np.random.Generator:
        """Random numbers of one check."""
        return np.random.default_rng([self.seed % 2**32, *key])


class AscentTrace(NamedTuple):
    """An ascent: losses `[steps, n]` of all iterates but the last, images `[n]` with an error on any iterate.

    `zero_gradients` counts the gradients of each image that were zero or not finite.
    """

    losses: np.ndarray
    succeeded: np.ndarray
    zero_gradients: np.ndarray


def trace_ascent(
    context: CheckImages,
    loss: Loss,
    *,
    steps: int = STEPS,
    radius: float = 1.0,
    crossings: float = CROSSINGS,
    at_random: bool = True,
) -> AscentTrace:
    """The ascent of `loss` from the images.

    Args:
        context: images, with a classifier that gives gradients.
        loss: per-example loss.
        steps: number of steps, all of one length.
        radius: of the ball, in units of epsilon.
        crossings: length of all steps together, in units of the ball's radius.
        at_random: start at a random point of the ball instead of the clean image.

    Raises:
        InputError: a classifier without gradients.
    """
    classifier, threat, y = context.classifier, context.threat, context.y
    key = "ascent trace", threat.with_epsilon(0.0), loss
    step = classifier.compiled(key, lambda: _compiled_step(classifier, threat, loss))
    origin, labels = tf.constant(context.x), tf.constant(y, tf.int32)
    x = origin
    if at_random:
        seed = context.rng().integers(2**31, size=2)
        x = threat.scaled(radius).random_start(origin, tf.constant(seed, tf.int32))
    size = crossings * radius * threat.epsilon / steps
    numbers = tf.constant(SteepestAscent(threat.scaled(np.float32(radius)), size).numbers, tf.float32)
    succeeded, zero_gradients, losses = np.zeros(len(y), bool), np.zeros(len(y), np.int64), []
    for _ in range(steps):
        x, _, seen, zeros = step(x, origin, labels, numbers)
        losses.append(seen.score.numpy())
        zero_gradients += zeros.numpy()
        succeeded |= classifier.predict(seen.x.numpy()) != y
    succeeded |= classifier.predict(np.asarray(threat.round_to_lattice_in_ball(x, origin))) != y
    return AscentTrace(np.stack(losses), succeeded, zero_gradients)


def _compiled_step(classifier: Classifier, threat: Threat, loss: Loss) -> Callable[..., Any]:
    """A compiled step; radius and length are arguments, so that one serves all radii."""

    def step(x: tf.Tensor, origin: tf.Tensor, labels: tf.Tensor, numbers: tf.Tensor) -> tuple[Any, ...]:
        rule = SteepestAscent(threat, 0.0).with_numbers(tf.unstack(numbers))
        value_fn = criterion_value(classifier.logits_fn, Untargeted(labels), loss)
        return tuple(ascend(value_fn, x, rule.threat.projector(origin), rule, steps=1, best=BestIterate.empty(x)))

    images = tf.TensorSpec([None, *classifier.input_shape], tf.float32)
    return traced(step, images, images, tf.TensorSpec([None], tf.int32), tf.TensorSpec([2], tf.float32))
