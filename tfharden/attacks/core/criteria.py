"""What an attack wants of the classifier: any error, or one class.

A goal is a tuple of arrays or tensors `[batch]`, so that it can be packed, sliced and passed to compiled functions.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from tfharden import losses
from tfharden.losses import Loss


class Untargeted(NamedTuple):
    """Any class but the true one."""

    labels: Any

    def values(self, loss: Loss, logits: tf.Tensor) -> tf.Tensor:
        """What an attack climbs, `[batch]`."""
        return loss(logits, self.labels)

    def reached(self, classes: Any) -> Any:  # noqa: ANN401
        """Whether these answers of the classifier are what is wanted, `[batch]`."""
        return classes != self.labels


class Towards(NamedTuple):
    """Any class but the true one, sought in the direction of a target: one of several attempts at an error."""

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
