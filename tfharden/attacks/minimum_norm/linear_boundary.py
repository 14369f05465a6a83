"""Linearised decision boundary: the nearest of the hyperplanes behind which a criterion is reached."""

from typing import NamedTuple

import tensorflow as tf

from tfharden.attacks.core.criteria import Criterion, Targeted, Untargeted, predicted_classes
from tfharden.attacks.core.value_and_gradient import GRADIENT_SCALE, LogitsFn, finite_gradient
from tfharden.losses import targeted_margin
from tfharden.threats import Threat
from tfharden.threats.base import TINY, per_image


class Boundary(NamedTuple):
    """The nearest hyperplane on which a class of the criterion draws level, by the classifier made linear at `x`.

    Attributes:
        reached: whether the classifier's answer at `x` itself reaches the criterion, `[batch]`.
        rise: how much that class has to gain to draw level, negative beyond the hyperplane, `[batch]`.
        normal: gradient of that gain, finite, `[batch, ...]`.
        zero_gradients: number of gradients that were zero or not finite over the whole image, `[batch]`.
    """

    reached: tf.Tensor
    rise: tf.Tensor
    normal: tf.Tensor
    zero_gradients: tf.Tensor


def candidate_classes(criterion: Criterion, num_classes: int) -> tf.Tensor:
    """The classes that a criterion allows or aims at, `[batch, count]` with a static count."""
    if isinstance(criterion, Untargeted):
        return (criterion.labels[:, None] + tf.range(1, num_classes)) % num_classes
    return criterion.targets[:, None]


def lead(logits: tf.Tensor, criterion: Criterion, classes: tf.Tensor) -> tf.Tensor:
    """By how much the logits of `classes [batch, count]` exceed the one that each has to exceed, `[batch, count]`.

    That is the true class's, or, where the target alone counts, the largest of the others.
    """
    if isinstance(criterion, Targeted):
        return targeted_margin(logits, criterion.labels, criterion.targets)[:, None]
    return tf.gather(logits, classes, batch_dims=1) - tf.gather(logits, criterion.labels[:, None], batch_dims=1)


def nearest_boundary(
    threat: Threat, logits_fn: LogitsFn, x: tf.Tensor, criterion: Criterion, classes: tf.Tensor
) -> Boundary:
    """Linearises at `x [batch, ...]` and picks, of the hyperplanes of `classes [batch, count]`, the nearest.

    The distance is |lead| / dual length of its gradient, without regard to the box. Costs one forward pass, and a
    backward pass for each class; no more than one gradient an image is kept at a time.

    Raises:
        InputError: the logits don't depend on the images through anything differentiable.
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(x)
        logits = logits_fn(x)
        leads = lead(logits, criterion, classes)
    count = classes.shape[1]

    def consider(index: tf.Tensor, distance: tf.Tensor, boundary: Boundary) -> tuple[tf.Tensor, tf.Tensor, Boundary]:
        chosen = tf.one_hot(index, count, on_value=GRADIENT_SCALE) * tf.ones_like(leads)
        gradient, zero_gradients = finite_gradient(tape, leads, x, chosen)
        normal = gradient / GRADIENT_SCALE
        away = tf.abs(leads[:, index]) / tf.maximum(threat.dual_length(normal), TINY)
        nearer = away < distance
        return (
            index + 1,
            tf.where(nearer, away, distance),
            boundary._replace(
                rise=tf.where(nearer, -leads[:, index], boundary.rise),
                normal=tf.where(per_image(nearer, x), normal, boundary.normal),
                zero_gradients=boundary.zero_gradients + zero_gradients,
            ),
        )

    batch = tf.shape(x)[:1]
    reached = criterion.reached(predicted_classes(logits))
    nothing = Boundary(reached, tf.zeros(batch), tf.zeros_like(x), tf.zeros(batch, tf.int32))
    state = (tf.constant(0), tf.fill(batch, x.dtype.max), nothing)
    *_, boundary = tf.while_loop(lambda *_: True, consider, state, maximum_iterations=count)
    return boundary
