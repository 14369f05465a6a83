"""Confidence of a model where it is right and where it is wrong, on clean and on adversarial images."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

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
        right: whether each answer is right, `[images]`.
        probability: the confidence of each answer, `[images]`; 0 where the logits are not finite.
    """

    _renamed: ClassVar[Mapping[str, str]] = {"sure_right": "right_confidence", "sure_wrong": "wrong_confidence"}

    images: int
    wrong: float
    right_confidence: float | None
    wrong_confidence: float | None
    right: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, bool), compare=False, repr=False)
    probability: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0), compare=False, repr=False)


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
    if not isinstance(attack, GradientAttack):
        raise InputError(f"{getattr(attack, 'name', attack)} may stop where the answer changes: give PGD, or the like")
    classifier = as_classifier(model, attack.threat.bounds)
    x = check_images(x, classifier.input_shape, attack.threat.bounds)
    y = check_labels(y, len(x), classifier.num_classes)
    threat = classifier.restrict_threat(attack.threat)
    clean = threat.received(x)
    made = dataclasses.replace(attack, early_exit=False)(classifier, x, y)
    return Confidence(_answers(classifier, clean, y), _answers(classifier, made.adversarial, y))


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


def _answers(classifier: Classifier, images: np.ndarray, y: np.ndarray) -> AnswerConfidence:
    found = probabilities(classifier, images)
    probability, is_finite = found.max(axis=1), found.any(axis=1)
    right = is_finite & (found.argmax(axis=1) == y)
    wrong = probability[~right & is_finite]
    return AnswerConfidence(len(y), float(np.mean(~right)), _mean(probability[right]), _mean(wrong), right, probability)


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values, dtype=np.float64)) if len(values) else None
