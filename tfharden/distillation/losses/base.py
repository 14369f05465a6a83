"""Distillation loss with a value for each example, on Keras' `DistillationLoss`."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import keras
import tensorflow as tf

from tfharden._validation import check_number
from tfharden.distillation.layers import Projection
from tfharden.errors import InputError
from tfharden.serialization import Configurable


class PerExampleLoss(Configurable, keras.distillation.DistillationLoss, abc.ABC):
    """A distillation loss that keeps the examples apart, so that sample weights have something to weigh.

    `per_example` is what our Distiller uses; `compute_loss`, its mean, serves Keras' own Distiller. Subclasses are
    frozen dataclasses round a pure function.

    Attributes:
        weight: factor of the loss in the Distiller's sum.
        on_logits: what it compares, of a layer too, are logits.
    """

    weight: float
    on_logits: ClassVar[bool] = False

    @abc.abstractmethod
    def per_example(self, teacher_outputs: tf.Tensor, student_outputs: tf.Tensor) -> tf.Tensor:
        """The loss of each example, `[batch]`, without the weight."""

    def compute_loss(self, teacher_outputs: tf.Tensor, student_outputs: tf.Tensor, **_: object) -> tf.Tensor:
        """The mean over the batch, weighted: what `keras.distillation.Distiller` calls."""
        return self.weight * tf.reduce_mean(self.per_example(teacher_outputs, student_outputs))

    def adapter(
        self, student_shape: Sequence[int], teacher_shape: Sequence[int], seed: int
    ) -> keras.layers.Layer | None:
        """A layer from `(student, teacher)` features to comparable ones, which the Distiller owns; None for none.

        Args:
            student_shape: shape of the student's features without the batch.
            teacher_shape: of the teacher's.
            seed: of the layer's first weights.

        Raises:
            InputError: features that can't be compared.
        """
        return None

    def _check(self, **least: float) -> None:
        """Refuses settings below their least values, NaN, and a negative weight."""
        for name, bound in {"weight": 0.0, **least}.items():
            check_number(f"{type(self).__name__}: {name}", getattr(self, name), least=bound)


@dataclasses.dataclass(frozen=True)
class BetweenExamples(PerExampleLoss):
    """A loss on relations between the examples of a batch: features of any shape and width, flattened.

    Partners are those of the batch (on one replica), also such as have the sample weight 0. The teacher isn't
    differentiated.

    Args:
        student_layer_name: layer of the student whose output is compared; the logits by default.
        teacher_layer_name: layer of the teacher, likewise.
        weight: factor in the Distiller's sum.
    """

    student_layer_name: str | None = None
    teacher_layer_name: str | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        self._check()


def layer_names(loss: keras.distillation.DistillationLoss) -> tuple[str, str] | None:
    """Names of the student's and the teacher's layer that a loss compares, Keras' or ours; None for the logits.

    Raises:
        InputError: one of them only.
    """
    student, teacher = getattr(loss, "student_layer_name", None), getattr(loss, "teacher_layer_name", None)
    if student and teacher:
        return student, teacher
    if student or teacher:
        raise InputError(f"{type(loss).__name__} names one layer only: give student_layer_name and teacher_layer_name")
    return None


def adapter(
    loss: keras.distillation.DistillationLoss, student_shape: Sequence[int], teacher_shape: Sequence[int], seed: int
) -> keras.layers.Layer | None:
    """The layer between the features and a loss; Keras' losses compare features of one shape, which are projected.

    Raises:
        InputError: features that can't be compared.
    """
    make = loss.adapter if isinstance(loss, PerExampleLoss) else Projection
    return make(student_shape, teacher_shape, seed)


def vectors(features: tf.Tensor) -> tf.Tensor:
    """Features of any shape as one vector an example, `[batch, numbers]`, in float32."""
    features = tf.cast(features, tf.float32)
    shape = tf.shape(features)
    return tf.reshape(features, [shape[0], tf.reduce_prod(shape[1:])])


def value(loss: keras.distillation.DistillationLoss, teacher: tf.Tensor, student: tf.Tensor) -> tf.Tensor:
    """Weighted loss of each example; Keras' own losses tell only the mean, which then stands for every example."""
    if isinstance(loss, PerExampleLoss):
        return loss.weight * loss.per_example(teacher, student)
    return tf.cast(loss.compute_loss(teacher, student), tf.float32)
