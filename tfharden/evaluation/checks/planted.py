"""Planted adversarial examples: an active test of the attack on a changed classifier in which they exist."""

import math
from typing import cast

import numpy as np
import tensorflow as tf

from tfharden.attacks import PGD, GradientAttack
from tfharden.classifiers import Classifier
from tfharden.evaluation.checks.context import CheckContext, Verdict, grade_images
from tfharden.threats import Threat

PLANTED_IMAGES, FEWEST_IMAGES = 32, 8
# Queries of the random search, and the share of its rise that an attack may miss. PGD gets 8% to 40% higher than the
# search, and 100 random changes without a search do not reach it.
SEARCH_QUERIES, MISSING_RISE = 100, 0.1
# Of the planted examples. A sound attack finds nearly all, an attack without useful gradients none.
OVERLOOKED_SHARE, MISSED_SHARE = 0.05, 0.2
# Values of all differences between images that are held at a time.
BLOCK_VALUES = 2**22


class Planted(Classifier):
    """A classifier followed by a linear readout for each image: class 1 where the readout is positive, else 0.

    g = u_i f(x) - t_i, where i is the nearest image. The logits are (-g, g, -10): DLR needs three.

    Args:
        classifier: f.
        threat: whose distance tells which image is the nearest.
        x: images, `[n, ...]`.
        readouts: u, `[n, classes]`.
        thresholds: t, `[n]`.
    """

    num_classes = 3

    def __init__(
        self, classifier: Classifier, threat: Threat, x: np.ndarray, readouts: np.ndarray, thresholds: np.ndarray
    ) -> None:
        self.name, self.input_shape = f"planted {classifier.name}", classifier.input_shape
        self.differentiable = classifier.differentiable
        self.classifier, self.threat, self.x = classifier, threat, np.asarray(x, np.float32)
        self.readouts = tf.constant(readouts, tf.float32)
        self.thresholds = tf.constant(thresholds, tf.float32)

    def logits(self, images: np.ndarray) -> np.ndarray:  # noqa: D102
        return self._read(self.classifier.logits(images), images).numpy()

    def logits_fn(self, images: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return self._read(self.classifier.logits_fn(images), images)

    def restrict_threat(self, threat: Threat) -> Threat:  # noqa: D102
        return self.classifier.restrict_threat(threat)

    def _distances(self, images: tf.Tensor) -> tf.Tensor:
        """Distances `[n, batch]` of the images with a readout from a batch, in blocks to save memory."""
        batch, rank = tf.shape(images)[0], len(self.input_shape)
        size = max(1, BLOCK_VALUES // (PLANTED_IMAGES * math.prod(self.input_shape)))
        distances = [
            self.threat.distance(tf.tile(images, [len(block), *[1] * rank]), tf.repeat(block, batch, axis=0))
            for block in np.split(self.x, list(range(size, len(self.x), size)))
        ]
        return tf.reshape(tf.concat(distances, axis=0), [len(self.x), batch])

    def _read(self, logits: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        nearest = tf.argmin(self._distances(tf.stop_gradient(tf.convert_to_tensor(images))), axis=0)
        score = tf.reduce_sum(tf.gather(self.readouts, nearest) * logits, axis=-1) - tf.gather(self.thresholds, nearest)
        return tf.stack([-score, score, tf.fill(tf.shape(score), -10.0)], axis=-1)


def planted(context: CheckContext) -> Verdict | None:
    """The attack finds the planted examples (Zimmermann et al. 2022, arXiv:2206.13991).

    Their readout is fitted to features. This one is a random direction of the logits, so that it needs nothing else.
    The planted example is the best of a random search without gradients, and the threshold is a little below its
    readout.
    """
    if not context.traces:
        return None
    model, x = plant(context)
    if len(x) < FEWEST_IMAGES:
        detail = f"only {len(x)} of {len(context.x[:PLANTED_IMAGES])} images have a place nearby whose logits stand out"
        return Verdict("warn", f"{detail} and stay: too few to plant in")
    attack = _as_used(context)
    found = attack(model, x, np.zeros(len(x), np.int32)).success
    missed = int((~found).sum())
    status = grade_images(missed, len(x), OVERLOOKED_SHARE, MISSED_SHARE)
    return Verdict(status, f"{attack.name} of {attack.steps} steps finds {found.sum()} of {len(x)} planted examples")


def plant(context: CheckContext) -> tuple[Planted, np.ndarray]:
    """The classifier with examples planted near its images, and the images for which that was possible."""
    x, rng = context.x[:PLANTED_IMAGES], context.rng(2)
    spread = np.maximum(context.logits.std(axis=0), 1e-12)
    readouts = rng.standard_normal((len(x), context.logits.shape[1]))
    # A shift of all logits does not change an answer.
    readouts = (readouts - readouts.mean(axis=-1, keepdims=True)) / spread

    before = np.sum(readouts * context.logits[: len(x)], axis=-1)
    places, after = _search(context, x, readouts, rng)
    rise = after - before
    possible = np.isfinite(rise) & (rise > 0)
    scale = np.where(possible, rise, 1.0)
    thresholds = (before + (1 - MISSING_RISE) * rise) / scale
    model = Planted(context.classifier, context.threat, x, readouts / scale[:, None], np.nan_to_num(thresholds))
    # The changed classifier has to confirm it: near duplicates may get the readout of each other.
    sure = possible & (model.predict(x) == 0) & (model.predict(places) == 1)
    return model, x[sure]


def _search(
    context: CheckContext, x: np.ndarray, readouts: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Images in the ball with high readouts, by a random search that redraws fewer and fewer values."""
    threat, direction = context.threat, rng.standard_normal(x.shape, np.float32)
    best, highest = x, np.full(len(x), -np.inf)
    for query in range(SEARCH_QUERIES):
        redrawn = rng.random(x.shape) < 0.5 * (1 - query / SEARCH_QUERIES)
        tried = np.where(redrawn, rng.standard_normal(x.shape, np.float32), direction)
        moved = threat.project(threat.step(x, tried, threat.epsilon), x)
        images = np.asarray(threat.round_to_lattice_in_ball(moved, x))
        value = np.sum(readouts * context.classifier.logits(images), axis=-1)
        higher = value > highest
        highest = np.where(higher, value, highest)
        chosen = higher.reshape(-1, *[1] * (x.ndim - 1))
        best, direction = np.where(chosen, images, best), np.where(chosen, tried, direction)
    return best, highest


def _as_used(context: CheckContext) -> GradientAttack:
    """The strongest gradient attack of the evaluation, or else PGD."""
    ascents = [run for run in context.runs if run.takes_many_steps and isinstance(run.attack, GradientAttack)]
    if not ascents:
        return PGD(context.threat)
    strongest = min(ascents, key=lambda run: run.result.robust_accuracy)
    return cast(GradientAttack, strongest.attack).with_threat(context.threat)
