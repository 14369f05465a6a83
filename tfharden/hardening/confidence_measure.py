"""Confidence of a model where it is right and where it is wrong, on clean and on adversarial images."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from tfharden._deprecation import RenamedMembers
from tfharden._text import aligned
from tfharden.attacks import GradientAttack
from tfharden.classifiers import Classifier, as_classifier
from tfharden.data.examples import check_images, check_labels
from tfharden.errors import InputError


@dataclasses.dataclass(frozen=True)
class AnswerConfidence(RenamedMembers):
    """Confidence of a model's answers on some images: the probability that it gives the class it answers.

    Attributes:
        images: number of images.
        wrong: share that the model gets wrong, in [0, 1].
        right_confidence: mean confidence where it is right, in [0, 1]; None where it never is.
        wrong_confidence: likewise where it is wrong.
    """

    _renamed: ClassVar[Mapping[str, str]] = {"sure_right": "right_confidence", "sure_wrong": "wrong_confidence"}

    images: int
    wrong: float
    right_confidence: float | None
    wrong_confidence: float | None


@dataclasses.dataclass(frozen=True)
class Confidence:
    """Confidence of a model on clean images, and on what an attack makes of them."""

    clean: AnswerConfidence
    adversarial: AnswerConfidence


def confidence(model: object, x: np.ndarray, y: np.ndarray, attack: GradientAttack) -> Confidence:
    """Measures a model's confidence, as Goodfellow et al. 2015 (arXiv:1412.6572) do around adversarial training.

    The attack takes all its steps on every image, clean errors among them, and keeps those of the highest loss, whether
    told to exit early or not: an image that stops where the answer changes lies at the boundary, where no model is
    confident. That is also why attacks for the smallest perturbation are refused. With the cross entropy the attack
    lowers the probability of the true class, with the margin it makes another class likely at the expense of the true
    one; neither seeks the most confident error, so the number is a lower bound of the highest confidence.

    Args:
        model: Keras model, differentiable classifier, or path of a .keras file.
        x: clean images, `[n, ...]`.
        y: true classes, `[n]`.
        attack: makes the adversarial images.

    Returns:
        Probabilities are those of a softmax; an answer that isn't finite counts as wrong, and in no mean.

    Raises:
        InputError: an attack of another kind, a model without gradients, examples that don't fit.
    """
    return Confidence(*(found.summary for found in answer_confidences(model, x, y, attack)))


class AnswerConfidences(NamedTuple):
    """Confidence of a model's answers, image by image.

    Attributes:
        right: whether each answer is right, `[n]`.
        probability: the confidence of each answer, `[n]`; 0 where the logits are not finite.
    """

    right: np.ndarray
    probability: np.ndarray

    @property
    def summary(self) -> AnswerConfidence:
        """Share and means over the images."""
        right, wrong = self.probability[self.right], self.probability[~self.right & (self.probability > 0)]
        return AnswerConfidence(len(self.right), float(np.mean(~self.right)), _mean(right), _mean(wrong))


def answer_confidences(
    model: object, x: np.ndarray, y: np.ndarray, attack: GradientAttack
) -> tuple[AnswerConfidences, AnswerConfidences]:
    """Confidence of each answer on clean images, and on what an attack makes of them; as `confidence` says."""
    if not isinstance(attack, GradientAttack):
        raise InputError(f"{getattr(attack, 'name', attack)} may stop where the answer changes: give PGD, or the like")
    classifier = as_classifier(model, attack.threat.bounds)
    x = check_images(x, classifier.input_shape, attack.threat.bounds)
    y = check_labels(y, len(x), classifier.num_classes)
    threat = classifier.restrict_threat(attack.threat)
    clean = threat.received(x)
    made = dataclasses.replace(attack, early_exit=False)(classifier, x, y)
    return _answers(classifier, clean, y), _answers(classifier, made.adversarial, y)


def confidence_table(measured: Mapping[str, Confidence]) -> str:
    """Aligned text in percent, two rows a model; `measured` goes by what the rows are to be called (before, after)."""
    rows = [["confidence", "images", "wrong %", "sure where right %", "sure where wrong %"]]
    for name, found in measured.items():
        for kind, answers in (("clean", found.clean), ("adversarial", found.adversarial)):
            shares = (answers.wrong, answers.right_confidence, answers.wrong_confidence)
            cells = ["–" if share is None else f"{100 * share:.1f}" for share in shares]
            rows.append([f"{name}, {kind}", str(answers.images), *cells])
    return aligned(rows)


def probabilities(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """The probability of each class, `[n, classes]`; 0 for all where the logits are not finite."""
    logits = classifier.logits(images)
    finite = np.isfinite(logits).all(axis=1, keepdims=True)
    logits = np.where(finite, logits, 0.0)
    if classifier.scores != "log of probabilities":
        logits = np.asarray(tf.nn.log_softmax(logits))
    return np.where(finite, np.exp(logits), 0.0)


def _answers(classifier: Classifier, images: np.ndarray, y: np.ndarray) -> AnswerConfidences:
    found = probabilities(classifier, images)
    return AnswerConfidences(found.any(axis=1) & (found.argmax(axis=1) == y), found.max(axis=1))


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values, dtype=np.float64)) if len(values) else None
