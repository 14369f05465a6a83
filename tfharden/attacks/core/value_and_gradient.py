"""Value and gradient of what an attack climbs, at a batch of images."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfharden.errors import InputError
from tfharden.threats.base import image_axes

# Gradients are computed times this factor: in half precision they would underflow without one.
GRADIENT_SCALE = 1024.0
# The share of a pixel that rounding may take: four times what float32 resolves of it.
ROUNDING = 2.0**-21

LogitsFn = Callable[[tf.Tensor], tf.Tensor]
# From images `[batch, ...]` to what is climbed, `[batch]`, and whether the criterion is reached, bool `[batch]`.
ValueFn = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class ValueAndGradient(NamedTuple):
    """A value function at a batch of images.

    Attributes:
        values: `[batch]`.
        reached: whether the criterion is reached, `[batch]`.
        gradient: gradient of the values times `GRADIENT_SCALE`, with zeros for what isn't finite, `[batch, ...]`.
        zero_gradients: 1 where the gradient was zero or not finite over the whole image, else 0, int32 `[batch]`.
    """

    values: tf.Tensor
    reached: tf.Tensor
    gradient: tf.Tensor
    zero_gradients: tf.Tensor

    @property
    def slope(self) -> tf.Tensor:
        """The gradient in the units of the values."""
        return self.gradient / GRADIENT_SCALE


def value_and_gradient(value_fn: ValueFn, x: tf.Tensor) -> ValueAndGradient:
    """A value function and its gradient at images `x [batch, ...]`, by one forward and one backward pass.

    Raises:
        InputError: the values don't depend on the images through anything differentiable.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        values, reached = value_fn(x)
    gradient, zero_gradients = finite_gradient(tape, values, x, tf.fill(tf.shape(values), GRADIENT_SCALE))
    return ValueAndGradient(values, reached, gradient, zero_gradients)


def finite_gradient(
    tape: tf.GradientTape, values: tf.Tensor, x: tf.Tensor, output_gradients: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The gradient of `values` by images `x`, with zeros for what isn't finite, and 1 for each image that has none.

    Raises:
        InputError: the values don't depend on the images through anything differentiable.
    """
    gradient = tape.gradient(values, x, output_gradients=output_gradients)
    if gradient is None:
        raise InputError("the model gives no gradient to its input: use a score-based attack such as square")
    # A sum is one pass over the gradient. It is zero or not finite wherever the gradient of an image is zero or not
    # finite, and only then is a closer look worth its time. As a product with ones it takes a third of the time of a
    # reduction.
    rows = tf.reshape(gradient, [tf.shape(gradient)[0], -1])
    total = tf.linalg.matvec(rows, tf.ones([tf.shape(rows)[1]], rows.dtype))
    suspicious = tf.reduce_any((total == 0.0) | ~tf.math.is_finite(total))
    return tf.cond(suspicious, lambda: _inspect(gradient), lambda: (gradient, tf.zeros_like(total, tf.int32)))


def _inspect(gradient: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One image with a gradient of NaN must not lose its place in the box, nor the loop its other images."""
    finite = tf.where(tf.math.is_finite(gradient), gradient, 0.0)
    return finite, tf.cast(tf.reduce_all(finite == 0.0, axis=image_axes(gradient)), tf.int32)


def value_less_rounding(seen: ValueAndGradient, x: tf.Tensor) -> tf.Tensor:
    """The values at images `x` without what rounding each of their pixels could change, `[batch]`.

    To first order that is the sum of |gradient| |x| over the pixels, times 2^-21. An image whose margin is no higher
    than that may be on the other side of the boundary in another batch or on another processor.
    """
    return seen.values - ROUNDING * tf.reduce_sum(tf.abs(seen.slope * x), axis=image_axes(x))
