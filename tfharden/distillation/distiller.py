"""Distiller: adversarial training with a teacher."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from tfharden._validation import check_number
from tfharden.attacks import GradientAttack
from tfharden.classifiers import logits_of, shapes
from tfharden.distillation.layers import classifier, extractor
from tfharden.distillation.objectives import ARD, DistillationObjective
from tfharden.distillation.teachers import LabelMap
from tfharden.distillation.teachers.cached import CachedTeacher
from tfharden.distillation.teaching_step import Comparison, Outputs, TeacherContext, TeachingStep
from tfharden.errors import InputError, TrainingWarning
from tfharden.hardening import RobustModel
from tfharden.hardening.trainer import Batch
from tfharden.serialization import registered


@registered
class Distiller(RobustModel):
    """Teaches `student` what `teacher` answers, mostly on images that an attack made against the student.

    The loss of an example is what the objective makes of the distillation losses, and `label_weight` times the cross
    entropy of the label with the student's answer to the attacked image (without an attack, to the clean one). The
    student runs forward once a step; the teacher runs in inference mode and is never changed.

    Examples may come without labels: then the teacher's class stands for the label, to the attack and to the metrics,
    which tell how often the student agrees. To a LabelMap that takes domains from the stream, y is the number of each
    example's domain, and no label.

    Args:
        student: built classifier to train, `[batch, ...]` to logits or softmax; `.student` is what to keep. Of several
            outputs the first one classifies; the others can be taught by the names of their layers.
        teacher: built classifier for the same images and classes: a model, an `ensemble(...)` or a LabelMap.
        losses: SoftTarget, Feature and the others, or any `keras.distillation.DistillationLoss`.
        attack: makes the student's images, as in RobustModel; None for clean distillation.
        objective: method of robust distillation, ARD by default.
        label_weight: weight of the cross entropy with the labels.
        seed: of the attack's random starts and of the projections' first weights.
        name: name of the trainer.
        **settings: `evaluation_attack`, `weight_perturbation` and `ramp_steps`, as in RobustModel.

    Raises:
        InputError: teacher and student that take different images or tell different numbers of classes apart, unknown
            layers, no loss at all, a negative weight, an objective that is no method of distillation.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model,
        losses: Sequence[keras.distillation.DistillationLoss] | keras.distillation.DistillationLoss,
        attack: GradientAttack | None = None,
        objective: DistillationObjective | None = None,
        *,
        label_weight: float = 0.0,
        seed: int = 0,
        name: str | None = None,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        objective = ARD() if objective is None else objective
        if not isinstance(objective, DistillationObjective):
            raise InputError(f"{type(objective).__name__} doesn't distil: give ARD(), RSLAD(), IAD() or AdaAD()")
        name = name or f"distilled_{student.name}"
        super().__init__(classifier(student), attack, objective, seed=seed, name=name, **settings)
        answering = classifier(teacher)
        if shapes(self.model) != shapes(answering):
            raise InputError(
                f"teacher and student differ in image shape or classes: {shapes(answering)} and {shapes(self.model)}"
            )
        check_number("label_weight", label_weight, least=0)
        losses = list(losses) if isinstance(losses, Sequence) else [losses]
        if not losses and not label_weight:
            raise InputError("there is nothing to learn from: give a distillation loss or a label_weight")
        if objective.label_smoothing and not label_weight:
            raise InputError(
                f"label_smoothing={objective.label_smoothing} smooths the labels, which label_weight=0 leaves out: "
                f"give a label_weight"
            )
        self.student = student
        self.teacher = teacher
        self.losses_distilled = tuple(losses)
        self.label_weight = label_weight
        self.comparison = Comparison(losses, student, teacher, seed)
        # Functions, so that Keras doesn't take the extractors for layers of the trainer's own.
        self._student_outputs = extractor(student, self.comparison.student_paths)
        self._teacher_outputs = extractor(teacher, self.comparison.teacher_paths)
        self._teacher_to_logits = _logits_of(answering, (0.0, 1.0) if attack is None else attack.threat.bounds)

    @property
    def trained(self) -> keras.Model:
        """The student, with all of its outputs."""
        return self.student

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Those of the student and the projections: the teacher's own flag stays as it was."""
        return [*super().trainable_variables, *self.comparison.trainable_variables]

    def check(self, x: Any, y: Any) -> None:  # noqa: ANN401
        """As in RobustModel; cached answers have to be the teacher's own."""
        if isinstance(y, CachedTeacher):
            if self.comparison.teacher_paths:
                raise InputError("kept answers are logits and hold no features: leave the losses on layers out")
            y.check(lambda images: self._ask_teacher(images, TeacherContext()).logits, x)
            y = y.labels
        super().check(x, y)

    def unpack(self, data: Any) -> Batch:  # noqa: ANN401
        """The batch, with its `TeachingStep`."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        context = TeacherContext()
        if isinstance(y, CachedTeacher):
            context = TeacherContext(Outputs(tf.cast(y.logits, tf.float32)), cached=True)
            y = y.labels
        context, y = self._told_domains(context, y)
        if y is None:
            if self.label_weight:
                raise InputError(f"label_weight={self.label_weight} needs labels: give fit() x and y")
            x = tf.cast(x, tf.float32)
            outputs = self._ask_teacher(x, context)
            context = dataclasses.replace(context, outputs=outputs)
            y = tf.argmax(outputs.logits, axis=-1)
        batch = super().unpack((x, y, sample_weight))
        step = TeachingStep(
            batch.x,
            self._ask_student,
            functools.partial(self._ask_teacher, context=context),
            self.comparison,
            self.label_weight,
            context,
        )
        return batch._replace(extra=step)

    def _told_domains(self, context: TeacherContext, y: tf.Tensor | None) -> tuple[TeacherContext, tf.Tensor | None]:
        """The domains that a LabelMap has to be told, and what labels are left."""
        if y is None or not isinstance(self.teacher, LabelMap) or self.teacher.domain_from == "confidence":
            return context, y
        y = tf.reshape(y, [-1])
        if self.teacher.domain_from == "stream":
            return dataclasses.replace(context, domains=y), None
        return dataclasses.replace(context, domains=tf.gather(self.teacher.domain_of, y)), y

    def _ask_student(self, images: tf.Tensor) -> Outputs:
        output, *features = self._student_outputs(images, True)
        return Outputs(self._to_logits(output), self.comparison.comparable(features))

    def _ask_teacher(self, images: tf.Tensor, context: TeacherContext) -> Outputs:
        if context.domains is not None:
            times = tf.shape(images)[0] // tf.maximum(tf.shape(context.domains)[0], 1)
            return Outputs(self.teacher(images, domains=tf.tile(context.domains, [times])))
        output, *features = self._teacher_outputs(images, False)
        return Outputs(self._teacher_to_logits(output), self.comparison.comparable(features))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        del config["model"]
        return config | {
            "student": keras.saving.serialize_keras_object(self.student),
            "teacher": keras.saving.serialize_keras_object(self.teacher),
            "losses": [keras.saving.serialize_keras_object(loss) for loss in self.losses_distilled],
            "label_weight": self.label_weight,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Callable] | None = None) -> Self:
        """The trainer that `get_config` described; smoothing that an earlier version ignored is left out."""
        smoothing = config["objective"]["config"]
        if smoothing["label_smoothing"] and not config["label_weight"]:
            warnings.warn("label_smoothing without label_weight has no effect: left out", TrainingWarning, stacklevel=2)
            smoothing["label_smoothing"] = 0.0
        return super().from_config(config, custom_objects)


def _logits_of(teacher: keras.Model, bounds: tuple[float, float]) -> Callable[[tf.Tensor], tf.Tensor]:
    """From the teacher's outputs to logits, which a LabelMap gives already, and not without being told a domain."""
    return (lambda logits: logits) if isinstance(teacher, LabelMap) else logits_of(teacher, bounds)[0]
