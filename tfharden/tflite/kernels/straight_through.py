"""Values of one function with the gradient of another (Bengio et al. 2013, arXiv:1308.3432)."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfharden.tflite.graph import Tensor


def straight_through(exact: Callable[..., Any], smooth: Callable[..., Any], *inputs: tf.Tensor) -> Any:  # noqa: ANN401
    """`exact(*inputs)`, with the gradient that `smooth(*inputs)` has there.

    Of `smooth`, a graph computes only what its gradient needs.
    """

    @tf.custom_gradient
    def both(*inputs: tf.Tensor) -> tuple[Any, Callable[..., Any]]:
        def gradient(*upstream: tf.Tensor) -> list[tf.Tensor | None]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(inputs)
                outputs = smooth(*inputs)
            gradients = upstream if isinstance(outputs, list | tuple) else upstream[0]
            return tape.gradient(outputs, inputs, output_gradients=gradients)

        return exact(*inputs), gradient

    return both(*map(tf.convert_to_tensor, inputs))


def fixed(value: Any, dtype: tf.DType = tf.float32) -> tf.Tensor:  # noqa: ANN401
    """A constant that stays one factor, divisor or term of its own.

    Graph optimisers turn quotients into products with reciprocals and move constants through sums, products and
    convolutions: the same numbers but for rounding, and rounding is what is imitated here.
    """
    constant = tf.constant(value, dtype)
    return tf.raw_ops.PlaceholderWithDefault(input=constant, shape=constant.shape)


def quantised(x: tf.Tensor, target: Tensor) -> tf.Tensor:
    """Real values as centred integers of `target`: clip(round(x / scale)), halves to even, straight through."""
    low, high = target.limits
    return straight_through(
        lambda x: tf.clip_by_value(tf.round(x / fixed(target.scale32)), low, high), lambda x: x / target.scale32, x
    )
