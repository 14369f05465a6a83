"""Attention transfer: the positions at which a teacher's map is active, over all channels."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tfharden.distillation.layers import Projection
from tfharden.distillation.losses.base import PerExampleLoss, vectors
from tfharden.errors import InputError
from tfharden.serialization import registered


def attention_map(features: tf.Tensor) -> tf.Tensor:
    """Attention q = v / |v|_2, v = sum_c |a_c|^2: `[batch, height, width, channels]` to `[batch, positions]`.

    Zeros for a map of zeros.
    """
    energy = tf.reduce_sum(tf.square(tf.cast(features, tf.float32)), axis=-1)
    return tf.math.l2_normalize(vectors(energy), axis=-1, epsilon=1e-20)


@registered
@dataclasses.dataclass(frozen=True)
class AttentionTransfer(PerExampleLoss):
    """|q_student - q_teacher|_2^2 of activation-based attention maps.

    Zagoruyko and Komodakis 2017, arXiv:1612.03928. The paper prints the norm itself, times beta / 2; the authors' code
    squares it and takes the mean over the positions. Here it is squared, for a gradient that ends at 0, and summed, so
    that it doesn't depend on the map's size: 2 - 2 cos of the maps, between 0 and 2. The code's beta is a weight of
    beta / (height * width): the usual 1,000 on a map of 32x32 is about the default of 1 here.

    Features of different sides are averaged to the smaller ones before the squares; channels may differ.

    Args:
        student_layer_name: layer of the student whose output is compared; `backbone/block3` for one of a nested model.
        teacher_layer_name: layer of the teacher.
        weight: factor in the Distiller's sum.
    """

    student_layer_name: str
    teacher_layer_name: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        self._check()

    def per_example(self, teacher_outputs: tf.Tensor, student_outputs: tf.Tensor) -> tf.Tensor:  # noqa: D102
        difference = attention_map(teacher_outputs) - attention_map(student_outputs)
        return tf.reduce_sum(tf.square(difference), axis=-1)

    def adapter(self, student_shape: Sequence[int], teacher_shape: Sequence[int], seed: int) -> Projection:  # noqa: D102
        if not len(student_shape) == len(teacher_shape) == 3:  # noqa: PLR2004
            raise InputError(
                "AttentionTransfer compares maps [height, width, channels], not features of the shapes "
                f"{tuple(student_shape)} ({self.student_layer_name}) and {tuple(teacher_shape)} "
                f"({self.teacher_layer_name})"
            )
        return Projection(student_shape, teacher_shape, seed, channels=False)
