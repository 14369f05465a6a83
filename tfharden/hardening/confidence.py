"""How sure a model is of its answers, right and wrong, on clean and on adversarial images."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfharden.attacks import GradientAttack
from tfharden.classifiers import Classifier, as_classifier, decide
from tfharden.data.examples import check_images, check_labels
from tfharden.errors import InputError


@dataclasses.dataclass(frozen=True)
class Answers:
    """A model's answers on some images.

    Attributes:
        images: number of images.
        wrong: share that the model gets wrong, in [0, 1].
        sure_right: mean probability of the answer where it is right, in [0, 1]; None where it never is.
        sure_wrong: likewise where it is wrong.
    """

    images: int
    wrong: float
    sure_right: float | None
    sure_wrong: float | None


@dataclasses.dataclass(frozen=True)
class Confidence:
    """A model's answers on clean images, and on what an attack makes of them."""

    clean: Answers
    adversarial: Answers


def confidence(model: object, x: np.ndarray, y: np.ndarray, attack: GradientAttack) -> Confidence:
    """Measures how sure a model is, as Goodfellow, Shlens and Szegedy 2015 do before and after adversarial training.

    The attack takes all its steps on every image, clean errors among them, and keeps those of the highest loss, whether
    told to exit early or not: an image that stops where the answer changes lies at the boundary, where no model is
    sure. That is also why attacks for the smallest perturbation are refused. With the cross entropy the attack lowers
    the probability of the true class, with the margin it makes another class likely at the expense of the true one;
    neither seeks the surest error, so the number is what this attack comes by, not the most there is.

    Args:
        model: Keras model, differentiable classifier, or path of a .keras file.
        x: clean images, `[n, ...]`.
        y: true classes, `[n]`.
        attack: makes the adversarial images, as at the evaluator's door.

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
            shares = (answers.wrong, answers.sure_right, answers.sure_wrong)
            cells = ["–" if share is None else f"{100 * share:.1f}" for share in shares]
            rows.append([f"{name}, {kind}", str(answers.images), *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def _answers(classifier: Classifier, images: np.ndarray, y: np.ndarray) -> Answers:
    logits = classifier.logits(images)
    right, sure = decide(logits) == y, tf.nn.softmax(logits).numpy().max(axis=-1)
    sure_wrong = sure[~right & np.isfinite(logits).all(axis=-1)]
    return Answers(len(y), float(np.mean(~right)), _mean(sure[right]), _mean(sure_wrong))


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values, dtype=np.float64)) if len(values) else None
