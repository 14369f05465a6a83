"""Fooling images: noise that a classifier recognises with high confidence (Nguyen et al. 2015, arXiv:1412.1897).

They are near no image, and their only constraint is the box of valid inputs. They show that high confidence does not
mean that an image belongs to one of the classes.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfharden._validation import check_whole_number
from tfharden.attacks.core.best_iterate import BestIterate
from tfharden.attacks.core.compiled import traced
from tfharden.attacks.core.criteria import Targeted, criterion_value
from tfharden.attacks.gradient.ascent import SteepestAscent, ascend
from tfharden.classifiers import BATCH_SIZE, Classifier
from tfharden.data.examples import check_labels
from tfharden.errors import InputError
from tfharden.evaluation.results import FoolingResult
from tfharden.hardening.confidence_measure import probabilities
from tfharden.losses import cross_entropy
from tfharden.threats import Linf, Threat

Progress = Callable[[float], None]

# Steps of one call of the compiled ascent. Between calls the classes that are done are dropped.
STEPS_PER_CALL = 10
# Offspring of one generation. Fewer offspring allow more generations within a budget.
OFFSPRING = 128
# The search aims above the confidence, by this share of the distance to 1, so that rounding does not undo a success.
CONFIDENCE_MARGIN = 1e-3
# Share of the values that a mutation changes, and its standard deviation as a share of the range.
MUTATION_RATE, MUTATION_STRENGTH = 0.1, 0.3


@dataclasses.dataclass(frozen=True, eq=False)
class FoolingImages:
    """One image for each class.

    Attributes:
        images: float32 `[n, ...]`, in the box and on the lattice of what the classifier receives.
        targets: the class that each was made for, `[n]`.
        confidence: probability that the classifier gives that class, `[n]`.
        wanted: the probability that was asked for.
        queries: forward passes without gradient, of all images together.
        gradients: forward and backward passes, of all images together.
    """

    images: np.ndarray
    targets: np.ndarray
    confidence: np.ndarray
    wanted: float
    queries: int
    gradients: int

    @property
    def success(self) -> np.ndarray:
        """Whether the confidence was reached, `[n]`."""
        return self.confidence >= self.wanted

    @property
    def summary(self) -> FoolingResult:
        """The record for report.json: everything but the images."""
        return FoolingResult(
            wanted=self.wanted,
            success_rate=float(self.success.mean()),
            classes=tuple(self.targets.tolist()),
            confidence=tuple(self.confidence.tolist()),
            queries=self.queries,
            gradients=self.gradients,
        )

    @property
    def content(self) -> dict[str, Any]:
        """The entries of report.json."""
        return self.summary.to_json()


def fool_by_gradient(
    classifier: Classifier,
    targets: Sequence[int] | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    *,
    confidence: float = 0.99,
    steps: int = 500,
    step_size: float = 0.01,
    seed: int = 0,
    progress: Progress = lambda share: None,
) -> FoolingImages:
    """Ascent of log softmax(z)_target from uniform noise, by signs of the gradient, up to a given confidence.

    Args:
        classifier: one with gradients.
        targets: classes to be taken for, all by default.
        bounds: range of valid inputs.
        confidence: probability to be reached.
        steps: gradients an image, at most.
        step_size: length of a step, as a share of the range.
        seed: of the noise.
        progress: is told the share of the budget that is spent.

    Raises:
        InputError: a classifier without gradients, no such class, a confidence that is no probability, steps below 1.
    """
    classes = _check(classifier, targets, confidence, steps=steps)
    classifier.require_gradients()
    threat = _everywhere(classifier, bounds)
    images = _noise(np.random.default_rng(seed), threat, (len(classes), *classifier.input_shape))
    rule = SteepestAscent(threat, step_size * (threat.bounds[1] - threat.bounds[0]))
    key = "fooling", rule.with_numbers([0.0, 0.0])
    advance, numbers = classifier.compiled(key, lambda: _compiled(classifier, rule)), tf.constant(rule.numbers)
    gradients = 0
    for first in range(0, len(classes), BATCH_SIZE):
        left = np.arange(first, min(first + BATCH_SIZE, len(classes)))
        x = origin = tf.constant(images[left])
        best = BestIterate.empty(x)
        for taken in range(0, steps, STEPS_PER_CALL):
            count = min(STEPS_PER_CALL, steps - taken)
            x, best = advance(x, origin, tf.constant(classes[left], tf.int32), best, tf.constant(count), numbers)
            gradients += count * len(left)
            images[left] = best.x
            keep = np.flatnonzero(best.score.numpy() < np.log(_required(confidence)))
            left = left[keep]
            x, origin, best = tf.nest.map_structure(lambda t, keep=keep: tf.gather(t, keep), (x, origin, best))
            progress((first + (taken + count) / steps * min(BATCH_SIZE, len(classes) - first)) / len(classes))
            if not len(left):
                break
    return _judged(classifier, images, classes, confidence, queries=0, gradients=gradients)


def fool_by_evolution(
    classifier: Classifier,
    targets: Sequence[int] | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    *,
    confidence: float = 0.99,
    queries: int = 50_000,
    seed: int = 0,
    progress: Progress = lambda share: None,
) -> FoolingImages:
    """Evolution of pixels from uniform noise, one champion a class, without gradients.

    Each offspring is a mutated champion of a class that has not reached the confidence yet. It replaces the champion of
    every class in which it scores no less (MAP-Elites, Mouret and Clune 2015, arXiv:1504.04909).

    Args:
        classifier: any, a .tflite too.
        targets: classes to be taken for, all by default.
        bounds: range of valid inputs.
        confidence: probability to be reached.
        queries: forward passes, at most.
        seed: of noise and mutations.
        progress: is told the share of the budget that is spent.

    Raises:
        InputError: no such class, a confidence that is no probability, fewer queries than classes.
    """
    classes = _check(classifier, targets, confidence, queries=queries)
    if queries < len(classes):
        raise InputError(f"{queries} queries don't do for {len(classes)} classes: give one a class at least")
    threat = _everywhere(classifier, bounds)
    random = np.random.default_rng(seed)
    champions = _noise(random, threat, (len(classes), *classifier.input_shape))
    best = np.full(len(classes), -1.0, np.float32)
    offspring, spent = champions, 0
    while True:
        scores = probabilities(classifier, offspring)[:, classes]
        spent += len(offspring)
        winners = scores.argmax(axis=0)
        risen = scores.max(axis=0) >= best
        champions[risen], best[risen] = offspring[winners[risen]], scores.max(axis=0)[risen]
        progress(spent / queries)
        unsure = np.flatnonzero(best < _required(confidence))
        if not len(unsure) or spent >= queries:
            return _judged(classifier, champions, classes, confidence, queries=spent, gradients=0)
        parents = champions[random.choice(unsure, min(OFFSPRING, queries - spent))]
        offspring = _mutated(random, threat, parents)


def _check(classifier: Classifier, targets: Sequence[int] | None, confidence: float, **counts: int) -> np.ndarray:
    classes = np.arange(classifier.num_classes) if targets is None else np.asarray(targets)
    if not classes.size:
        raise InputError("there are no classes to be taken for: give one target at least")
    classes = check_labels(classes, classes.size, classifier.num_classes)
    if not 0 < confidence < 1:
        raise InputError(f"confidence={confidence} is no probability: give a number between 0 and 1")
    for name, value in counts.items():
        check_whole_number(name, value)
    return classes


def _required(confidence: float) -> float:
    return confidence + CONFIDENCE_MARGIN * (1 - confidence)


def _everywhere(classifier: Classifier, bounds: tuple[float, float]) -> Threat:
    """A ball that holds the whole box, on the lattice that the classifier receives."""
    return classifier.restrict_threat(Linf(bounds[1] - bounds[0], bounds))


def _noise(random: np.random.Generator, threat: Threat, shape: tuple[int, ...]) -> np.ndarray:
    return np.array(threat.round_to_lattice(random.uniform(*threat.bounds, shape).astype(np.float32)))


def _mutated(random: np.random.Generator, threat: Threat, parents: np.ndarray) -> np.ndarray:
    low, high = threat.bounds
    changed = random.random(parents.shape) < MUTATION_RATE
    moved = parents + random.normal(0.0, MUTATION_STRENGTH * (high - low), parents.shape)
    return np.asarray(threat.round_to_lattice(np.where(changed, np.clip(moved, low, high), parents).astype(np.float32)))


def _compiled(classifier: Classifier, rule: SteepestAscent) -> Callable[..., Any]:
    """The compiled ascent; its batch axis is free, and the numbers of the rule are arguments."""
    images, labels = tf.TensorSpec([None, *classifier.input_shape]), tf.TensorSpec([None], tf.int32)

    def advance(
        x: tf.Tensor, origin: tf.Tensor, targets: tf.Tensor, best: BestIterate, steps: tf.Tensor, numbers: tf.Tensor
    ) -> tuple[tf.Tensor, BestIterate]:
        bound = rule.with_numbers(tf.unstack(numbers))
        value_fn = criterion_value(classifier.logits_fn, Targeted(targets, targets), cross_entropy)
        ascent = ascend(value_fn, x, bound.threat.projector(origin), bound, steps, best=best)
        return ascent.x, ascent.best

    bests, whole = BestIterate.specs(images), tf.TensorSpec([], tf.int32)
    return traced(advance, images, images, labels, bests, whole, tf.TensorSpec([len(rule.numbers)]))


def _judged(
    classifier: Classifier, images: np.ndarray, targets: np.ndarray, wanted: float, *, queries: int, gradients: int
) -> FoolingImages:
    """The images with the classifier's own probabilities."""
    confidence = probabilities(classifier, images)[np.arange(len(targets)), targets]
    return FoolingImages(images, targets, confidence, wanted, queries, gradients)
