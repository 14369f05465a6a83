"""Losses: pure functions of `(logits [batch, classes], labels [batch])` that return one value an example, `[batch]`.

Attacks climb them, training descends them; whoever calls decides how to reduce. Everything is float32, whatever the
model computes in.
"""

from collections.abc import Callable

import tensorflow as tf

from tfharden.errors import InputError
from tfharden.serialization import registered

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
TargetedLoss = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


@registered
def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """-log softmax(z)_y."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.cast(labels, tf.int32), tf.cast(logits, tf.float32))


def smoothed_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Cross entropy with labels of which the share `smoothing` is spread evenly over all classes.

    Szegedy et al. 2016, arXiv:1512.00567: (1 - s) * -log p_y + s * mean_k(-log p_k).
    """
    if not smoothing:
        return cross_entropy(logits, labels)
    everywhere = -tf.reduce_mean(tf.nn.log_softmax(tf.cast(logits, tf.float32)), axis=-1)
    return (1 - smoothing) * cross_entropy(logits, labels) + smoothing * everywhere


@registered
def margin(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """max_{i != y} z_i - z_y: positive where the model errs (Carlini and Wagner 2017, arXiv:1608.04644, -f_6)."""
    logits, labels = tf.cast(logits, tf.float32), tf.cast(labels, tf.int32)
    truth = tf.one_hot(labels, tf.shape(logits)[-1], on_value=True, off_value=False, dtype=tf.bool)
    others = tf.where(truth, logits.dtype.min, logits)
    return tf.reduce_max(others, axis=-1) - tf.gather(logits, labels, batch_dims=1)


@registered
def difference_of_logits_ratio(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """DLR: -(z_y - max_{i != y} z_i) / (z_(1) - z_(3)), which shift and scale of the logits don't change.

    Croce and Hein 2020, arXiv:2003.01690.

    Raises:
        InputError: fewer than three classes.
    """
    if logits.shape[-1] is not None and logits.shape[-1] < 3:  # noqa: PLR2004
        raise InputError(f"DLR compares three logits and the model has {logits.shape[-1]}: use the margin")
    largest = tf.math.top_k(tf.cast(logits, tf.float32), k=3).values
    return margin(logits, labels) / (largest[:, 0] - largest[:, 2] + 1e-12)


def targeted_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """The log of softmax(z)_t: highest, at 0, where the model is sure of the target."""
    return -cross_entropy(logits, targets)


def targeted_margin(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """z_t - max_{i != t} z_i: positive where the model says the target (Carlini and Wagner 2017, f_6)."""
    return -margin(logits, targets)


def targeted_difference_of_logits_ratio(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2) (Croce and Hein 2020).

    The denominator takes out the scale of the logits. Of three classes it is z_(1) - (z_(2) + z_(3)) / 2; of two, any
    such ratio is constant, so z_t - z_y itself is taken.
    """
    logits, classes = tf.cast(logits, tf.float32), logits.shape[-1]
    gap = tf.gather(logits, targets, batch_dims=1) - tf.gather(logits, labels, batch_dims=1)
    if classes == 2:  # noqa: PLR2004
        return gap
    largest = tf.math.top_k(logits, k=min(classes, 4)).values
    return gap / (largest[:, 0] - tf.reduce_mean(largest[:, -2:], axis=-1) + 1e-12)


_TARGETED: dict[Loss, TargetedLoss] = {
    cross_entropy: targeted_cross_entropy,
    margin: targeted_margin,
    difference_of_logits_ratio: targeted_difference_of_logits_ratio,
}


def targeted(loss: Loss) -> TargetedLoss:
    """The form of `loss` that rises towards a target class: a function of `(logits, labels, targets)`.

    Raises:
        InputError: none is known.
    """
    if loss not in _TARGETED:
        known = ", ".join(known.__name__ for known in _TARGETED)
        raise InputError(f"{getattr(loss, '__name__', loss)} has no targeted form: use one of {known}")
    return _TARGETED[loss]


def kl_divergence(target_logits: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """KL(softmax(target) || softmax(logits)) = sum_i p_i (log p_i - log q_i), from logits, `[batch]`."""
    target = tf.nn.log_softmax(tf.cast(target_logits, tf.float32))
    estimate = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    return tf.reduce_sum(tf.exp(target) * (target - estimate), axis=-1)
