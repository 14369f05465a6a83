"""Distillation as adversarial training with a teacher: the step of RobustModel, another loss."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfharden.attacks import GradientAttack
from tfharden.classifiers import logits_of, shapes
from tfharden.configurable import registered
from tfharden.distillation.features import Projection, extractor, layer
from tfharden.errors import InputError
from tfharden.hardening import RobustModel
from tfharden.hardening.objectives.base import Outcome
from tfharden.losses import cross_entropy


@registered
class Distiller(RobustModel):
    """Teaches `student` what `teacher` answers, on images that an attack made against the student.

    The loss of an example is the sum of the distillation losses, each with its weight, and `label_weight` times the
    cross entropy with its label. The student sees the attacked image, the teacher the clean one (ARD, Goldblum et al.
    2020: the student has to be as right under attack as the teacher is at rest); without an attack both see the clean
    one. The student runs forward once a step; the teacher runs in inference mode and is never changed.

    Args:
        student: built classifier to train, `[batch, ...]` to logits or softmax; `.student` is what to keep.
        teacher: built classifier for the same images and classes.
        losses: SoftTarget, Feature, or any `keras.distillation.DistillationLoss`.
        attack: makes the student's images, as in RobustModel; None for clean distillation.
        label_weight: weight of the cross entropy with the labels.
        seed: of the attack's random starts.
        name: name of the trainer.

    Raises:
        InputError: teacher and student that take different images or tell different numbers of classes apart, unknown
            layers, no loss at all, a negative weight.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model,
        losses: Sequence[keras.distillation.DistillationLoss] | keras.distillation.DistillationLoss,
        attack: GradientAttack | None = None,
        *,
        label_weight: float = 0.0,
        seed: int = 0,
        name: str | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(student, attack, seed=seed, name=name or f"distilled_{student.name}", **kwargs)
        if shapes(student) != shapes(teacher):
            raise InputError(
                f"teacher and student differ in image shape or classes: {shapes(teacher)} and {shapes(student)}"
            )
        if not label_weight >= 0:
            raise InputError(f"label_weight={label_weight} has to be >= 0")
        losses = list(losses) if isinstance(losses, Sequence) else [losses]
        for loss in losses:
            if not isinstance(loss, keras.distillation.DistillationLoss):
                raise InputError(f"{loss!r} is no distillation loss: give SoftTarget(), Feature(...) or one of Keras'")
        if not losses and not label_weight:
            raise InputError("there is nothing to learn from: give a distillation loss or a label_weight")
        self.teacher = teacher
        self.losses_distilled = tuple(losses)
        self.label_weight = label_weight
        self._teacher_to_logits, _ = logits_of(teacher, (0.0, 1.0) if attack is None else attack.threat.bounds)
        pairs = [_layers(loss) for loss in losses]
        # Functions, so that Keras doesn't take the extractors for layers of the trainer's own.
        self._student_outputs = extractor(student, [pair[0] for pair in pairs if pair])
        self._teacher_outputs = extractor(teacher, [pair[1] for pair in pairs if pair])
        self.projections = [
            Projection(layer(student, pair[0]).output.shape[1:], layer(teacher, pair[1]).output.shape[1:], seed)
            for pair in pairs
            if pair
        ]

    @property
    def student(self) -> keras.Model:
        """The model that is trained, without what served its training."""
        return self.model

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Those of the student and the projections: the teacher's own flag stays as it was."""
        return [*self.model.trainable_variables, *(v for p in self.projections for v in p.trainable_variables)]

    def objective_outcome(self, x: tf.Tensor, x_adversarial: tf.Tensor, y: tf.Tensor) -> Outcome:
        """The weighted sum of the losses, and the student's logits."""
        student_output, *student_features = self._student_outputs(x_adversarial, True)
        teacher_output, *teacher_features = self._teacher_outputs(x, False)
        logits, teacher_logits = self._to_logits(student_output), self._teacher_to_logits(teacher_output)
        features = iter(zip(self.projections, student_features, teacher_features, strict=True))
        total = self.label_weight * cross_entropy(logits, y)
        for loss in self.losses_distilled:
            student, teacher = logits, teacher_logits
            if _layers(loss):
                project, student, teacher = next(features)
                student, teacher = project(student, teacher)
            total += _value(loss, tf.stop_gradient(teacher), student)
        return Outcome(total, adversarial_logits=logits)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        for fixed in ("objective", "evaluation_attack", "weight_perturbation", "ramp_steps"):
            del config[fixed]
        parts = {"student": config.pop("model"), "label_weight": self.label_weight}
        return (
            config
            | parts
            | {
                "teacher": keras.saving.serialize_keras_object(self.teacher),
                "losses": [keras.saving.serialize_keras_object(loss) for loss in self.losses_distilled],
            }
        )


def _layers(loss: keras.distillation.DistillationLoss) -> tuple[str, str] | None:
    """Names of the student's and the teacher's layer, for a loss on features, Keras' or ours."""
    names = getattr(loss, "student_layer_name", None), getattr(loss, "teacher_layer_name", None)
    if any(names) and not all(names):
        raise InputError(f"{type(loss).__name__} names one layer only: give student_layer_name and teacher_layer_name")
    return names if all(names) else None


def _value(loss: keras.distillation.DistillationLoss, teacher: tf.Tensor, student: tf.Tensor) -> tf.Tensor:
    """Weighted loss of each example; Keras' own losses tell only the mean, which then stands for every example."""
    if hasattr(loss, "per_example"):
        return loss.weight * loss.per_example(teacher, student)
    return tf.cast(loss.compute_loss(teacher, student), tf.float32)
