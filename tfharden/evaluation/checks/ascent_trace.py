"""Projected gradient ascent whose every iterate is shown to the classifier itself."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.criteria import Untargeted
from tfharden.attacks.gradient.ascent import BestIterate, SteepestAscent, ascend
from tfharden.evaluation.checks.images import CheckedImages
from tfharden.losses import Loss

# Steps, each of 2.5 * epsilon / steps: a random start may be 2 * epsilon from the corner that it climbs to. With 40 the
# loss of honest models still moves at the end.
STEPS, CROSSINGS = 100, 2.5


class AscentTrace(NamedTuple):
    """What an ascent passed through.

    Attributes:
        losses: at each iterate but the last, `[steps, n]`.
        succeeded: whether the classifier errs on any iterate, `[n]`.
        zero_gradients: number of gradients that were zero or not finite, `[n]`.
    """

    losses: np.ndarray
    succeeded: np.ndarray
    zero_gradients: np.ndarray


def trace_ascent(
    context: CheckedImages,
    loss: Loss,
    *,
    steps: int = STEPS,
    radius: float = 1.0,
    crossings: float = CROSSINGS,
    at_random: bool = True,
) -> AscentTrace:
    """The ascent of `loss` from the context's images.

    Args:
        context: with a classifier that gives gradients.
        loss: per-example loss.
        steps: number of steps, of constant length.
        radius: of the ball, in units of epsilon.
        crossings: length of all steps together, in units of the ball's radius.
        at_random: start at a random point of the ball instead of the clean image.

    Raises:
        InputError: a classifier without gradients.
    """
    classifier, threat, y = context.classifier, context.threat, context.y
    step = classifier.compiled(("step of a check", threat, loss), lambda: _step(context, loss))
    origin, labels = tf.constant(context.x), tf.constant(y, tf.int32)
    x = origin
    if at_random:
        seed = context.rng().integers(2**31, size=2)
        x = threat.scaled(radius).random_start(origin, tf.constant(seed, tf.int32))
    sizes = [tf.constant(value, tf.float32) for value in (radius, crossings * radius * threat.epsilon / steps)]
    succeeded, zero_gradients, losses = np.zeros(len(y), bool), np.zeros(len(y), np.int64), []
    for _ in range(steps):
        x, seen = step(x, origin, labels, *sizes)
        losses.append(seen.value.numpy())
        zero_gradients += seen.zero_gradients.numpy()
        succeeded |= classifier.predict(seen.x.numpy()) != y
    succeeded |= classifier.predict(np.asarray(threat.round_to_lattice_in_ball(x, origin))) != y
    return AscentTrace(np.stack(losses), succeeded, zero_gradients)


def _step(context: CheckedImages, loss: Loss) -> Callable[..., Any]:
    """A compiled step; ball and length are numbers among others, so that one serves all radii."""
    logits_fn, threat = context.classifier.logits_fn, context.threat

    def step(
        x: tf.Tensor, origin: tf.Tensor, labels: tf.Tensor, radius: tf.Tensor, size: tf.Tensor
    ) -> tuple[tf.Tensor, BestIterate]:
        rule = SteepestAscent(threat.scaled(radius), size)
        settings = {"rule": rule, "loss": loss, "steps": 1, "memory": BestIterate.empty(x)}
        following, _, seen = ascend(logits_fn, x, origin, Untargeted(labels), **settings)
        return following, seen

    images, number = tf.TensorSpec([None, *context.x.shape[1:]], tf.float32), tf.TensorSpec([], tf.float32)
    signature = [images, images, tf.TensorSpec([None], tf.int32), number, number]
    return tf.function(step, input_signature=signature, autograph=False).get_concrete_function()
