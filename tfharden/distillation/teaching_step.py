"""One step of a Distiller, as its objective sees it."""

import dataclasses
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfharden.distillation.comparison import Comparison
from tfharden.distillation.objectives import Answers
from tfharden.errors import InputError
from tfharden.hardening.objectives.base import Batch

Answer = Callable[[tf.Tensor], Answers]


@dataclasses.dataclass(frozen=True)
class TeacherContext:
    """What a Distiller knows of the teacher's answers before the step, as `Batch.extra`.

    Attributes:
        answers: those to the clean images, if they had to be asked for already.
        cached: they come from a cache, so that there are no others.
        domains: index of each example's domain, `[batch]`, for a LabelMap that has to be told.
    """

    answers: Answers | None = None
    cached: bool = False
    domains: tf.Tensor | None = None


@dataclasses.dataclass(frozen=True)
class Step:
    """The `Lesson` that a Distiller gives its objective.

    Args:
        batch: clean images and what is known of them.
        ask_student: images to answers, in training mode.
        ask_teacher: images to answers, in inference mode.
        comparison: the distillation losses.
    """

    batch: Batch
    ask_student: Answer
    ask_teacher: Answer
    comparison: Comparison

    def student(self, *images: tf.Tensor) -> list[Answers]:  # noqa: D102
        return _each(self.ask_student, images)

    def teacher(self, *images: tf.Tensor) -> list[Answers]:  # noqa: D102
        known: TeacherContext = self.batch.extra
        if known.answers is not None and len(images) == 1 and images[0] is self.batch.x:
            return [known.answers]
        if known.cached:
            raise InputError(
                "the teacher's answers come from a cache, which has none for attacked images: leave it out"
            )
        return _each(self.ask_teacher, images)

    def distance(self, student: Answers, teacher: Answers) -> tf.Tensor:  # noqa: D102
        return self.comparison(student, teacher)

    def distance_of_logits(self, student: tf.Tensor, teacher: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return self.comparison.logits(student, teacher)


def _each(ask: Answer, images: Sequence[tf.Tensor]) -> list[Answers]:
    """The answers to each batch, from one pass over all."""
    answers = ask(tf.concat(images, axis=0) if len(images) > 1 else images[0])
    parts = zip(*(tf.split(output, len(images)) for output in tf.nest.flatten(answers)), strict=True)
    return [tf.nest.pack_sequence_as(answers, part) for part in parts]
