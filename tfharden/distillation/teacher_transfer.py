"""Transferability: how a teacher answers adversarial examples that were made against a student."""

import dataclasses

import keras
import numpy as np

from tfharden.attacks import Attack
from tfharden.classifiers import KerasClassifier
from tfharden.errors import InputError


@dataclasses.dataclass(frozen=True)
class Transferability:
    """Answers of a teacher to adversarial examples that were made against a student.

    The stronger teacher is not always the better one: what predicts a robust student is the share of its adversarial
    examples that work on the teacher too (SAAD, arXiv:2512.10275; arXiv:2605.21999). A teacher that they don't change
    answers as if they were clean images, and teaches nothing about them.

    Attributes:
        count: images that both models get right, which is where examples are made.
        fooled_student: share of them that the attack turns against the student.
        fooled_teacher: share of those that turn the teacher too.
        shift: mean total variation between the teacher's answers to the clean image and to the attacked one, in [0, 1].
    """

    count: int
    fooled_student: float
    fooled_teacher: float
    shift: float

    def __str__(self) -> str:
        """One line."""
        return (
            f"of {self.count} images that both get right, the student loses {self.fooled_student:.1%} to examples made "
            "against it; "
            f"the teacher falls for {self.fooled_teacher:.1%} of these, its answers move by {self.shift:.3f}"
        )


def transferability(
    student: keras.Model, teacher: keras.Model, attack: Attack, x: np.ndarray, y: np.ndarray
) -> Transferability:
    """Attacks the student, and asks the teacher.

    Args:
        student: built classifier; one that has been trained a little, since examples of random weights tell nothing.
        teacher: built classifier for the same images and classes.
        attack: of the student.
        x: clean images, `[n, ...]`.
        y: true classes, `[n]`.

    Raises:
        InputError: no image that both get right.
    """
    bounds = attack.threat.bounds
    pupil, expert = KerasClassifier(student, bounds=bounds), KerasClassifier(teacher, bounds=bounds)
    right = (pupil.predict(x) == y) & (expert.predict(x) == y)
    if not right.any():
        raise InputError("there is no image that student and teacher both get right: train the student a little first")
    x, y = x[right], y[right]
    result = attack(pupil, x, y)
    succeeded = result.success
    clean, attacked = (_softmax(expert.logits(images)) for images in (x, result.adversarial))
    fooled = attacked.argmax(axis=-1) != y
    shift = np.abs(attacked - clean).sum(axis=-1)[succeeded].mean() / 2 if succeeded.any() else 0.0
    return Transferability(
        int(right.sum()),
        float(succeeded.mean()),
        float(fooled[succeeded].mean()) if succeeded.any() else 0.0,
        float(shift),
    )


def _softmax(logits: np.ndarray) -> np.ndarray:
    scores = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return scores / scores.sum(axis=-1, keepdims=True)
