"""Teaching step: the answers of student and teacher to one batch, and the losses between them."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tfharden.distillation.layers import layer
from tfharden.distillation.losses import adapter, layer_names, value
from tfharden.errors import InputError


class Outputs(NamedTuple):
    """What a model gives for some images.

    Attributes:
        logits: `[batch, classes]`, float32.
        features: outputs of its inner layers, in the order of the losses that compare them.
    """

    logits: tf.Tensor
    features: tuple[tf.Tensor, ...] = ()


@dataclasses.dataclass(frozen=True)
class TeacherContext:
    """What a Distiller knows of the teacher's outputs before the step.

    Attributes:
        outputs: those for the clean images, if they are known already.
        cached: they come from a cache, so that there are no others.
        domains: index of each example's domain, `[batch]`, for a LabelMap that has to be told.
    """

    outputs: Outputs | None = None
    cached: bool = False
    domains: tf.Tensor | None = None


class Comparison(keras.layers.Layer):
    """The weighted sum of distillation losses; owns the layers that they need between student and teacher.

    Args:
        losses: ours or Keras'.
        student: the model whose layers they name.
        teacher: likewise.
        seed: of the adapters' first weights.

    Attributes:
        student_paths: layers of the student whose outputs are compared, in the order of `Outputs.features`.
        teacher_paths: of the teacher.
        adapters: one for each of them, or None.

    Raises:
        InputError: no distillation loss, unknown layers, features that can't be compared.
    """

    def __init__(
        self,
        losses: Sequence[keras.distillation.DistillationLoss],
        student: keras.Model,
        teacher: keras.Model,
        seed: int,
    ) -> None:
        super().__init__(name="comparison")
        for loss in losses:
            if not isinstance(loss, keras.distillation.DistillationLoss):
                raise InputError(f"{loss!r} is no distillation loss: give SoftTarget(), Feature(...) or one of Keras'")
        self.of_logits = [loss for loss in losses if layer_names(loss) is None]
        named = [(loss, names) for loss in losses if (names := layer_names(loss)) is not None]
        self.of_layers = [loss for loss, _ in named]
        self.student_paths, self.teacher_paths = ([names[side] for _, names in named] for side in (0, 1))
        self.adapters = [
            adapter(loss, layer(student, mine).output.shape[1:], layer(teacher, theirs).output.shape[1:], seed)
            for loss, (mine, theirs) in named
        ]
        self.built = True

    def comparable(self, features: Sequence[tf.Tensor]) -> tuple[tf.Tensor, ...]:
        """The layers' outputs as the losses compare them: of a softmax the logits, which Keras keeps on its output."""
        pairs = zip(self.of_layers, features, strict=True)
        return tuple(getattr(f, "_keras_logits", f) if getattr(loss, "on_logits", False) else f for loss, f in pairs)

    def logits(self, student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
        """The losses that compare logits, `[batch]`."""
        teacher, nothing = tf.stop_gradient(teacher), tf.zeros(tf.shape(student)[:1])
        return tf.add_n([nothing, *(nothing + value(loss, teacher, student) for loss in self.of_logits)])

    def call(self, student: Outputs, teacher: Outputs) -> tf.Tensor:
        """All of them."""
        total = self.logits(student.logits, teacher.logits)
        triples = zip(self.of_layers, self.adapters, student.features, teacher.features, strict=True)
        for loss, adapt, mine, theirs in triples:
            mine, theirs = (mine, theirs) if adapt is None else adapt(mine, theirs)  # noqa: PLW2901
            total += value(loss, tf.stop_gradient(theirs), mine)
        return total


class TeachingStep:
    """One step of a Distiller, as its objective sees it; `Batch.extra` of the batch.

    Args:
        x: the batch's clean images.
        ask_student: images to outputs, in training mode.
        ask_teacher: images to outputs, in inference mode.
        comparison: the distillation losses.
        label_weight: weight of the cross entropy with the labels.
        context: what is known of the teacher's outputs.
    """

    def __init__(
        self,
        x: tf.Tensor,
        ask_student: Callable[[tf.Tensor], Outputs],
        ask_teacher: Callable[[tf.Tensor], Outputs],
        comparison: Comparison,
        label_weight: float = 0.0,
        context: TeacherContext | None = None,
    ) -> None:
        self._x = x
        self._ask_student, self._ask_teacher = ask_student, ask_teacher
        self._comparison = comparison
        self.label_weight = label_weight
        self._context = context or TeacherContext()
        self._clean = self._context.outputs

    def student(self, *images: tf.Tensor) -> list[Outputs]:
        """The student's outputs for each batch, from one forward pass in training mode; to be called once.

        BatchNormalization sees all of them as one batch.
        """
        return _each(self._ask_student, images)

    def teacher(self, *images: tf.Tensor) -> list[Outputs]:
        """The teacher's outputs for each batch, in inference mode; those for the clean images are computed once.

        Raises:
            InputError: other images than the clean ones, where the teacher's answers come from a cache.
        """
        clean = len(images) == 1 and images[0] is self._x
        if clean and self._clean is not None:
            return [self._clean]
        if self._context.cached:
            raise InputError(
                "the teacher's answers come from a cache, which has none for attacked images: leave it out"
            )
        outputs = _each(self._ask_teacher, images)
        if clean:
            (self._clean,) = outputs
        return outputs

    def teacher_logits(self, images: tf.Tensor) -> tf.Tensor:
        """The teacher's logits for images made of the batch, `[batch, classes]`."""
        return self.teacher(images)[0].logits

    def distance(self, student: Outputs, teacher: Outputs) -> tf.Tensor:
        """The sum of the distillation losses, each with its weight, `[batch]`; no gradient to the teacher."""
        return self._comparison(student, teacher)

    def distance_of_logits(self, student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
        """The sum of those that compare logits alone, `[batch]`."""
        return self._comparison.logits(student, teacher)


def _each(ask: Callable[[tf.Tensor], Outputs], images: Sequence[tf.Tensor]) -> list[Outputs]:
    """The outputs for each batch, from one pass over all."""
    outputs = ask(tf.concat(images, axis=0) if len(images) > 1 else images[0])
    parts = zip(*(tf.split(output, len(images)) for output in tf.nest.flatten(outputs)), strict=True)
    return [tf.nest.pack_sequence_as(outputs, part) for part in parts]
