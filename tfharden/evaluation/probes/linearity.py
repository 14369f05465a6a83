"""Linearity of a classifier around its images.

Where a classifier is linear, many small changes add up (Goodfellow et al. 2015, arXiv:1412.6572; see `dimension`).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.best_iterate import BestIterate
from tfharden.attacks.core.compiled import traced
from tfharden.attacks.gradient.ascent import SteepestAscent, ascend
from tfharden.classifiers import BATCH_SIZE, Classifier
from tfharden.data.examples import Examples, check_images, check_labels
from tfharden.errors import InputError
from tfharden.evaluation.probes.dimension import dual_order
from tfharden.evaluation.probes.probe import Probe, ProbeContext, ProbeFinding
from tfharden.evaluation.results import LinearityResult, LineExample
from tfharden.losses import Loss, cross_entropy
from tfharden.threats import Threat
from tfharden.threats.base import image_axes

# Points on the line through an image, an odd number so that the image is one of them.
POINTS = 41
# The line goes this many times epsilon to both sides.
REACH = 2.0
STEPS = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Linearity:
    """A classifier along the steepest line through its images, and within the ball.

    Attributes:
        offsets: distances t from the image along the line, in the threat's norm, `[points]`.
        margin: z_y - max_{k != y} z_k at each distance, mean over images, `[points]`.
        example_logits: all logits of one image at each distance, `[points, classes]`: the first that is right.
        example_label: its true class.
        straightness: R^2 of straight lines fitted to the logits, mean over images; 1 is a linear classifier.
        rise: J(x') - J(x) of the steepest step of length epsilon within the box, `[n]`.
        gamma: largest |J(x + d) - J(x) - d grad J(x)| found in ball and box, `[n]`.
        loss: name of J.
    """

    offsets: np.ndarray
    margin: np.ndarray
    example_logits: np.ndarray
    example_label: int
    straightness: float
    rise: np.ndarray
    gamma: np.ndarray
    loss: str

    @property
    def deviation(self) -> float:
        """Mean gamma relative to the mean rise: the part of the loss that is not linear. 0 is linear."""
        return float(self.gamma.mean() / max(np.abs(self.rise).mean(), np.finfo(np.float32).tiny))

    @property
    def summary(self) -> LinearityResult:
        """The record for report.json."""
        return LinearityResult(
            reach=REACH,
            offsets=self.offsets,
            margin_mean=self.margin,
            example=LineExample(label=self.example_label, logits=self.example_logits),
            straightness=self.straightness,
            rise_mean=float(self.rise.mean()),
            gamma_mean=float(self.gamma.mean()),
            deviation=self.deviation,
            num_examples=len(self.gamma),
            loss=self.loss,
        )

    @property
    def content(self) -> dict[str, Any]:
        """The entries of report.json."""
        return self.summary.to_json()


def linearity(
    classifier: Classifier,
    examples: Examples,
    threat: Threat,
    loss: Loss = cross_entropy,
    *,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> Linearity:
    """Measures the classifier along x + t s, where s is the steepest direction of J at x, and gamma within the ball.

    The line is not cut at the box: beyond the box its values are no images. Rise and gamma are within the box. Gamma is
    the local linearity measure (Qin et al. 2019, arXiv:1907.02610). It is found by projected ascent from random points.

    Args:
        classifier: one with gradients.
        examples: images and labels.
        threat: the ball; its epsilon has to be positive.
        loss: J, per example.
        seed: of the random points.
        progress: is told the share that is done.

    Raises:
        InputError: a classifier without gradients, examples that don't fit it, an epsilon of 0, L0.
    """
    check_ball(threat)
    classifier.require_gradients()
    x = check_images(examples[0], classifier.input_shape, threat.bounds)
    y = check_labels(examples[1], len(x), classifier.num_classes)
    # The function is measured between the points of a lattice too.
    threat = threat.restrict(threat.bounds, None)
    key = "linearity", threat.with_epsilon(0.0), loss
    measure = classifier.compiled(key, lambda: _compiled(classifier, threat, loss))
    numbers = tf.constant(_rule(threat).numbers, tf.float32)
    offsets = np.linspace(-REACH, REACH, POINTS).astype(np.float32) * threat.epsilon
    parts = []
    for first in range(0, len(x), BATCH_SIZE):
        batch = x[first : first + BATCH_SIZE], y[first : first + BATCH_SIZE]
        given = tf.constant(batch[0]), tf.constant(batch[1], tf.int32), tf.constant([seed, first]), numbers
        direction, rise, gamma = (t.numpy() for t in measure(*given))
        logits = np.stack([classifier.logits(batch[0] + offset * direction) for offset in offsets])
        margins = _margins(logits, batch[1])
        parts.append((margins, r_squared(offsets, logits), rise, gamma))
        if first == 0:
            chosen = int((margins[POINTS // 2] > 0).argmax())
            example, label = logits[:, chosen], int(y[chosen])
        progress(min(1.0, (first + BATCH_SIZE) / len(x)))
    margin, straight, rise, gamma = (np.concatenate(kind, axis=-1) for kind in zip(*parts, strict=True))
    return Linearity(
        offsets=offsets,
        margin=margin.mean(axis=1),
        example_logits=example,
        example_label=label,
        straightness=float(straight.mean()),
        rise=rise,
        gamma=gamma,
        loss=loss.__name__,
    )


def look(context: ProbeContext) -> ProbeFinding:
    """The linearity of the cross entropy."""
    classifier, examples, threat = context.classifier, context.examples, context.threat
    found = linearity(classifier, examples, threat, seed=context.seed, progress=context.progress)
    return ProbeFinding(found.summary)


def check_ball(threat: Threat) -> None:
    """Refuses, by an `InputError`, an epsilon of 0 and L0."""
    dual_order(threat.norm)
    if threat.epsilon <= 0:
        raise InputError("a ball of epsilon 0 has no lines in it: linearity needs a larger epsilon")


def r_squared(offsets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """R^2 of straight lines in `offsets [points]` fitted to `logits [points, n, classes]`, `[n]`.

    All logits of an image are taken together, so that those which hardly change have little weight. Constant logits
    have 1.
    """
    t = (offsets - offsets.mean()).astype(np.float64)
    centred = logits.astype(np.float64) - logits.mean(axis=0)
    slope = np.tensordot(t, centred, axes=1) / np.sum(t**2)
    left = np.sum((centred - t[:, None, None] * slope) ** 2, axis=(0, 2))
    total = np.sum(centred**2, axis=(0, 2))
    return 1 - np.divide(left, total, out=np.zeros_like(left), where=total > 0)


def _rule(threat: Threat) -> SteepestAscent:
    return SteepestAscent(threat, 2.5 * threat.epsilon / STEPS)


def _compiled(classifier: Classifier, threat: Threat, loss: Loss) -> Callable[..., tuple[tf.Tensor, ...]]:
    """A function from images, labels, a seed and the rule's numbers to the steepest direction, the rise and gamma."""
    low, high = threat.bounds
    roomy = threat.restrict((2 * low - high, 2 * high - low), None)

    def measure(x: tf.Tensor, y: tf.Tensor, seed: tf.Tensor, numbers: tf.Tensor) -> tuple[tf.Tensor, ...]:
        rule = _rule(threat).with_numbers(tf.unstack(numbers))
        bounded = rule.threat

        def loss_of(images: tf.Tensor) -> tf.Tensor:
            return loss(classifier.logits_fn(images), y)

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            here = loss_of(x)
        gradient = tape.gradient(here, x)
        if gradient is None:
            raise InputError("the model gives no gradient to its input: there is no line to look along")

        def bend(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            straight = here + tf.reduce_sum((images - x) * gradient, axis=image_axes(x))
            bends = tf.abs(loss_of(images) - straight)
            return bends, tf.zeros_like(bends, tf.bool)

        # At the image itself the bend is 0 and has no slope, so the ascent starts at a random point. Values that would
        # leave the box are mirrored at the image.
        start = roomy.with_epsilon(bounded.epsilon).random_start(x, seed)
        start = bounded.project(tf.where(start == tf.clip_by_value(start, low, high), start, 2 * x - start), x)
        last, _, best, _ = ascend(bend, start, bounded.projector(x), rule, STEPS, best=BestIterate.empty(start))
        rise = loss_of(bounded.project(bounded.step(x, gradient, bounded.epsilon), x)) - here
        return bounded.steepest(gradient), rise, tf.maximum(best.score, bend(last)[0])

    images = tf.TensorSpec([None, *classifier.input_shape])
    labels, seeds = tf.TensorSpec([None], tf.int32), tf.TensorSpec([2], tf.int32)
    return traced(measure, images, labels, seeds, tf.TensorSpec([2]))


def _margins(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """z_y - max_{k != y} z_k of logits `[points, n, classes]`, `[points, n]`."""
    others, rows = logits.copy(), np.arange(len(y))
    others[:, rows, y] = -np.inf
    return logits[:, rows, y] - others.max(axis=-1)


PROBE = Probe(look, check_ball, num_examples=200)
