"""How far a student's answers are from a teacher's: the distillation losses, and what makes features comparable."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfharden.distillation.layers import layer
from tfharden.distillation.losses import adapter, layer_names, value
from tfharden.distillation.objectives import Answers
from tfharden.errors import InputError

DistillationLoss = keras.distillation.DistillationLoss


class Comparison(keras.layers.Layer):
    """The weighted sum of distillation losses; owns the layers that they need between student and teacher.

    Args:
        losses: ours or Keras'.
        student: the model whose layers they name.
        teacher: likewise.
        seed: of the adapters' first weights.

    Attributes:
        student_paths: layers of the student that have to be looked at, in the order of `Answers.features`.
        teacher_paths: of the teacher.
        adapters: one for each of them, or None.

    Raises:
        InputError: no distillation loss, unknown layers, features that can't be compared.
    """

    def __init__(
        self, losses: Sequence[DistillationLoss], student: keras.Model, teacher: keras.Model, seed: int
    ) -> None:
        super().__init__(name="comparison")
        for loss in losses:
            if not isinstance(loss, DistillationLoss):
                raise InputError(f"{loss!r} is no distillation loss: give SoftTarget(), Feature(...) or one of Keras'")
        self.of_logits = [loss for loss in losses if not layer_names(loss)]
        self.of_layers = [loss for loss in losses if layer_names(loss)]
        pairs = [layer_names(loss) for loss in self.of_layers]
        self.student_paths, self.teacher_paths = ([pair[side] for pair in pairs] for side in (0, 1))
        self.adapters = [
            adapter(loss, layer(student, mine).output.shape[1:], layer(teacher, theirs).output.shape[1:], seed)
            for loss, (mine, theirs) in zip(self.of_layers, pairs, strict=True)
        ]
        self.built = True

    def seen(self, features: Sequence[tf.Tensor]) -> tuple[tf.Tensor, ...]:
        """The layers' outputs as the losses want them: of a softmax the logits, which Keras keeps on its output."""
        pairs = zip(self.of_layers, features, strict=True)
        return tuple(getattr(f, "_keras_logits", f) if getattr(loss, "on_logits", False) else f for loss, f in pairs)

    def logits(self, student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:
        """The losses that compare logits, `[batch]`."""
        teacher, nothing = tf.stop_gradient(teacher), tf.zeros(tf.shape(student)[:1])
        return tf.add_n([nothing, *(nothing + value(loss, teacher, student) for loss in self.of_logits)])

    def call(self, student: Answers, teacher: Answers) -> tf.Tensor:
        """All of them."""
        total = self.logits(student.logits, teacher.logits)
        triples = zip(self.of_layers, self.adapters, student.features, teacher.features, strict=True)
        for loss, adapt, mine, theirs in triples:
            mine, theirs = (mine, theirs) if adapt is None else adapt(mine, theirs)  # noqa: PLW2901
            total += value(loss, tf.stop_gradient(theirs), mine)
        return total
