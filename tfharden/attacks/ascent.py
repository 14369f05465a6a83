"""The one ascent loop: projected steps up a loss, the core of FGSM, BIM, PGD and of adversarial training.

Pure TensorFlow without AutoGraph, so it runs inside a Keras `train_step` as well as in an evaluator's own function.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfharden.errors import InputError
from tfharden.losses import Loss
from tfharden.threats import Threat

GRADIENT_SCALE = 1024.0

LogitsFn = Callable[[tf.Tensor], tf.Tensor]


class Memory(NamedTuple):
    """The best iterate of each example so far: an error beats a right answer, then the higher loss wins.

    Attributes:
        x: images `[batch, ...]`.
        value: their loss, `[batch]`.
        wrong: whether the model errs on them, `[batch]`.
        blind: number of gradients that were zero or not finite over the whole image, `[batch]`.
    """

    x: tf.Tensor
    value: tf.Tensor
    wrong: tf.Tensor
    blind: tf.Tensor

    @classmethod
    def empty(cls, x: tf.Tensor) -> "Memory":
        """A memory that any iterate improves."""
        batch = tf.shape(x)[:1]
        return cls(x, tf.fill(batch, x.dtype.min), tf.zeros(batch, tf.bool), tf.zeros(batch, tf.int32))

    def after(self, x: tf.Tensor, logits: tf.Tensor, values: tf.Tensor, labels: tf.Tensor) -> "Memory":
        """The memory once the iterate `x` has been seen."""
        wrong = tf.argmax(logits, axis=-1, output_type=tf.int32) != tf.cast(labels, tf.int32)
        better = tf.where(wrong == self.wrong, values > self.value, wrong)
        return Memory(
            tf.where(tf.reshape(better, [-1] + [1] * (len(x.shape) - 1)), x, self.x),
            tf.where(better, values, self.value),
            tf.logical_or(self.wrong, wrong),
            self.blind,
        )


def ascend(
    logits_fn: LogitsFn,
    x: tf.Tensor,
    origin: tf.Tensor,
    labels: tf.Tensor,
    *,
    threat: Threat,
    loss: Loss,
    steps: int | tf.Tensor,
    step_size: float,
    memory: Memory | tuple[()] = (),
) -> tuple[tf.Tensor, Memory | tuple[()]]:
    """Takes `x <- project(x + step_size * steepest(grad loss(x)))` for a number of steps.

    Args:
        logits_fn: images to logits, in inference mode.
        x: where to go on from, `[batch, ...]`.
        origin: clean images round which the ball lies.
        labels: true classes, `[batch]`.
        threat: geometry.
        loss: per-example loss that is climbed.
        steps: number of steps.
        step_size: length of a step in the threat's norm.
        memory: remembers the best of the iterates whose loss was computed, which is all but the last, as they land on
            the threat's lattice (`origin` has to lie on it); `()` for none.

    Returns:
        The last iterate, and the memory.

    Raises:
        InputError: the loss doesn't depend on the images through anything differentiable.
    """

    def body(x: tf.Tensor, memory: Memory | tuple[()]) -> tuple[tf.Tensor, Memory | tuple[()]]:
        # What counts is what the device receives, so that is judged and differentiated; x itself keeps the fractions
        # of a lattice step.
        received = threat.land(x, origin) if memory else x
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(received)
            logits = logits_fn(received)
            values = loss(logits, labels)
        # Steps don't mind a factor, and in half precision a gradient without one underflows.
        gradient = tape.gradient(values, received, output_gradients=tf.fill(tf.shape(values), GRADIENT_SCALE))
        if gradient is None:
            raise InputError("the model gives no gradient to its input: use a score-based attack such as square")
        # One image with a gradient of NaN must not lose its place in the box, nor the loop its other images.
        gradient = tf.where(tf.math.is_finite(gradient), gradient, 0.0)
        if memory:
            dead = tf.reduce_all(gradient == 0.0, axis=list(range(1, len(x.shape))))
            memory = memory.after(received, logits, values, labels)._replace(
                blind=memory.blind + tf.cast(dead, tf.int32)
            )
        return threat.project(x + step_size * threat.steepest(gradient), origin), memory

    return tf.while_loop(lambda *_: True, body, (x, memory), maximum_iterations=steps)
