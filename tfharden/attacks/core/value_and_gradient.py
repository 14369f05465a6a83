"""One look at a classifier: what it makes of images, and the slope of what an attack wants of it."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfharden.attacks.core.criteria import Criterion
from tfharden.attacks.gradient.ascent import GRADIENT_SCALE, LogitsFn
from tfharden.errors import InputError
from tfharden.threats.base import image_axes

# What is climbed, `[batch]`, of logits and a goal.
Height = Callable[[tf.Tensor, Criterion], tf.Tensor]
# The share of a pixel that rounding may take: four times what float32 resolves of it.
ROUNDING = 2.0**-21


class Look(NamedTuple):
    """What is seen at a batch of images.

    Attributes:
        values: how high they stand, `[batch]`.
        reached: whether the classifier answers as the goal asks, `[batch]`.
        gradient: of the values, in their own units, with zeros for what isn't finite, `[batch, ...]`.
        zero_gradients: 1 where the gradient was zero or not finite over the whole image, else 0, `[batch]`.
    """

    values: tf.Tensor
    reached: tf.Tensor
    gradient: tf.Tensor
    zero_gradients: tf.Tensor


def look(logits_fn: LogitsFn, x: tf.Tensor, criterion: Criterion, height: Height) -> Look:
    """Values, verdicts and gradients at images `x [batch, ...]`, by one forward and one backward pass.

    Raises:
        InputError: the logits don't depend on the images through anything differentiable.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        logits = logits_fn(x)
        values = height(logits, criterion)
    # In half precision a gradient without a factor underflows.
    gradient = tape.gradient(values, x, output_gradients=tf.fill(tf.shape(values), GRADIENT_SCALE))
    if gradient is None:
        raise InputError("the model gives no gradient to its input: use a score-based attack such as square")
    gradient = tf.where(tf.math.is_finite(gradient), gradient, 0.0) / GRADIENT_SCALE
    zero_gradients = tf.cast(tf.reduce_all(gradient == 0.0, axis=image_axes(x)), tf.int32)
    return Look(values, criterion.reached(answers(logits)), gradient, zero_gradients)


def certain(seen: Look, x: tf.Tensor) -> tf.Tensor:
    """How high images `x` stand for certain: without what rounding each of their pixels could change, `[batch]`.

    To first order the sum of |gradient| |x| over the pixels, times 2^-21. An image that stands on a boundary no higher
    than that may be on its other side in another batch or on another processor.
    """
    return seen.values - ROUNDING * tf.reduce_sum(tf.abs(seen.gradient * x), axis=image_axes(x))


def answers(logits: tf.Tensor) -> tf.Tensor:
    """The class of each example, `[batch]`, as `classifiers.decide` tells it: -1 where a logit is not finite."""
    finite = tf.reduce_all(tf.math.is_finite(logits), axis=-1)
    return tf.where(finite, tf.argmax(logits, axis=-1, output_type=tf.int32), -1)
