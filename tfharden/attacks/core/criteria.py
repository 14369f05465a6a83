"""Criteria: which answers of the classifier an attack searches for, any error or one class.

A criterion is a tuple of arrays or tensors `[batch]`, so that it can be sliced and passed to compiled functions.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from tfharden import losses
from tfharden.attacks.core.value_and_gradient import LogitsFn, ValueFn
from tfharden.losses import Loss


class Untargeted(NamedTuple):
    """Any class but the true one."""

    labels: Any

    def values(self, loss: Loss, logits: tf.Tensor) -> tf.Tensor:
        """What an attack climbs, `[batch]`."""
        return loss(logits, self.labels)

    def reached(self, classes: Any) -> Any:  # noqa: ANN401
        """Whether these answers of the classifier fulfil the criterion, `[batch]`."""
        return classes != self.labels


class Towards(NamedTuple):
    """Any class but the true one, searched for in the direction of a target: one of several attempts at an error."""

    labels: Any
    targets: Any

    def values(self, loss: Loss, logits: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return losses.targeted(loss)(logits, self.labels, self.targets)

    def reached(self, classes: Any) -> Any:  # noqa: ANN401, D102
        return classes != self.labels


class Targeted(NamedTuple):
    """The target and nothing else."""

    labels: Any
    targets: Any

    def values(self, loss: Loss, logits: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return losses.targeted(loss)(logits, self.labels, self.targets)

    def reached(self, classes: Any) -> Any:  # noqa: ANN401, D102
        return classes == self.targets


Criterion = Untargeted | Towards | Targeted


def tensor_specs(kind: type[Criterion]) -> Criterion:
    """The signature that compiled functions take a criterion of that kind with."""
    return kind._make(tf.TensorSpec([None], tf.int32) for _ in kind._fields)


def subset(criterion: Criterion, chosen: Any) -> Criterion:  # noqa: ANN401
    """The criterion of the examples `chosen`, by index, slice or mask."""
    return type(criterion)._make(array[chosen] for array in criterion)


def predicted_classes(logits: tf.Tensor) -> tf.Tensor:
    """The class of each example, int32 `[batch]`, as `classifiers.decide` tells it: -1 where a logit is not finite."""
    finite = tf.reduce_all(tf.math.is_finite(logits), axis=-1)
    return tf.where(finite, tf.argmax(logits, axis=-1, output_type=tf.int32), -1)


def criterion_value(logits_fn: LogitsFn, criterion: Criterion, loss: Loss, draws: int = 1) -> ValueFn:
    """The value function of a classifier's loss: `loss` of its logits, and whether its answers fulfil the criterion.

    Args:
        logits_fn: images to logits, in inference mode.
        criterion: labels, and targets if there are any.
        loss: per-example loss.
        draws: how many answers of a randomised model are averaged. The value is then the mean loss of the draws, whose
            gradient is the mean of their gradients, and the class is that of the mean probabilities. The draws are
            rows of one batch, so the model has to draw for each image on its own.
    """

    def value_fn(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = logits_fn(x)
        return criterion.values(loss, logits), criterion.reached(predicted_classes(logits))

    def mean_value_fn(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits = logits_fn(tf.repeat(x, draws, axis=0))
        repeated = tf.nest.map_structure(lambda t: tf.repeat(t, draws, axis=0), criterion)
        values = tf.reduce_mean(tf.reshape(repeated.values(loss, logits), [-1, draws]), axis=1)
        probabilities = tf.reshape(tf.nn.softmax(logits), [-1, draws, logits.shape[-1]])
        # The softmax hides a logit of minus infinity, which is an error as well.
        finite = tf.reduce_all(tf.reshape(tf.math.is_finite(logits), [-1, draws * logits.shape[-1]]), axis=1)
        classes = tf.where(finite, predicted_classes(tf.reduce_mean(probabilities, axis=1)), -1)
        return values, criterion.reached(classes)

    return value_fn if draws == 1 else mean_value_fn
