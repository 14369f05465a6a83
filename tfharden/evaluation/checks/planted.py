"""An active test of the attack: the classifier is changed so that an adversarial example is sure to exist."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfharden import losses
from tfharden.attacks import BY_NAME, PGD, Attack, AttackResult, GradientAttack
from tfharden.classifiers import Classifier
from tfharden.evaluation.checks.context import Subject, Verdict, grade_images, is_climb, verdict
from tfharden.threats import Threat

IMAGES, FEWEST = 32, 8
# Random changes that look for a place to plant, and how much of its rise may be missing: PGD gets higher by 8% to 40%,
# 100 changes without a search never come near.
QUERIES, SLACK = 100, 0.1
# Of the planted examples; an honest attack finds all but a few, a blind one none.
OVERLOOKED, BLIND = 0.05, 0.2


class Planted(Classifier):
    """A classifier behind which each image has a linear readout of its own: class 1 where that is positive, else 0.

    g = u_i f(x) - t_i with the i of the nearest image; the logits are (-g, g, -10), three so that DLR takes them.

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
        self.classifier, self.threat, self.x = classifier, threat, tf.constant(x)
        self.readouts = tf.constant(readouts, tf.float32)
        self.thresholds = tf.constant(thresholds, tf.float32)

    def logits(self, images: np.ndarray) -> np.ndarray:  # noqa: D102
        return self._read(self.classifier.logits(images), images).numpy()

    def logits_fn(self, images: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return self._read(self.classifier.logits_fn(images), images)

    def restrict_threat(self, threat: Threat) -> Threat:  # noqa: D102
        return self.classifier.restrict_threat(threat)

    def _read(self, logits: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        images = tf.stop_gradient(tf.convert_to_tensor(images))
        # One image at a time: all differences at once would fill the memory.
        distances = tf.map_fn(lambda image: self.threat.distance(images, image), self.x)
        nearest = tf.argmin(distances, axis=0)
        score = tf.reduce_sum(tf.gather(self.readouts, nearest) * logits, axis=-1) - tf.gather(self.thresholds, nearest)
        return tf.stack([-score, score, tf.fill(tf.shape(score), -10.0)], axis=-1)


def planted(subject: Subject) -> Verdict:
    """The attack finds what is sure to be there (Zimmermann, Brendel, Tramèr, Carlini 2022).

    Their readout is fitted to features, this one is a random direction of the logits, so that it needs nothing but
    these; the place is the best of a random search without gradients, and the readout is positive from a little below
    it. Gradients pass through the whole classifier.
    """
    model, x = plant(subject)
    name = "planted examples are found"
    if len(x) < FEWEST:
        detail = (
            f"only {len(x)} of {len(subject.x[:IMAGES])} images have a place nearby whose logits stand out and stay"
        )
        return verdict(name, "warn", f"{detail}: too few to plant in")
    attack = _as_used(subject.results, subject.threat)
    found = attack(model, x, np.zeros(len(x), np.int32)).success
    missed = int((~found).sum())
    status = grade_images(missed, len(x), OVERLOOKED, BLIND)
    steps = getattr(attack, "steps", 1)
    return verdict(name, status, f"{attack.name} of {steps} steps finds {found.sum()} of {len(x)} planted examples")


def plant(subject: Subject) -> tuple[Planted, np.ndarray]:
    """The classifier with something planted near its images, and the images for which that was possible."""
    x, rng = subject.x[:IMAGES], subject.rng(2)
    spread = np.maximum(subject.logits.std(axis=0), 1e-12)
    readouts = rng.standard_normal((len(x), subject.logits.shape[1]))
    # A shift of all logits changes nothing of what a model says.
    readouts = (readouts - readouts.mean(axis=-1, keepdims=True)) / spread

    before = np.sum(readouts * subject.logits[: len(x)], axis=-1)
    places, after = _search(subject, x, readouts, rng)
    rise = after - before
    possible = np.isfinite(rise) & (rise > 0)
    scale = np.where(possible, rise, 1.0)
    thresholds = (before + (1 - SLACK) * rise) / scale
    model = Planted(subject.classifier, subject.threat, x, readouts / scale[:, None], np.nan_to_num(thresholds))
    # Sure is what the changed classifier itself says: of near duplicates one has the readout of the other.
    sure = possible & (model.predict(x) == 0) & (model.predict(places) == 1)
    return model, x[sure]


def _search(
    subject: Subject, x: np.ndarray, readouts: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The images in the ball with the highest readouts that random changes of fewer and fewer values come to."""
    threat, way = subject.threat, rng.standard_normal(x.shape, np.float32)
    best, highest = x, np.full(len(x), -np.inf)
    for query in range(QUERIES):
        redrawn = rng.random(x.shape) < 0.5 * (1 - query / QUERIES)
        tried = np.where(redrawn, rng.standard_normal(x.shape, np.float32), way)
        images = np.asarray(
            threat.round_to_lattice_in_ball(threat.project(threat.step(x, tried, threat.epsilon), x), x)
        )
        value = np.sum(readouts * subject.classifier.logits(images), axis=-1)
        higher = value > highest
        highest = np.where(higher, value, highest)
        chosen = higher.reshape(-1, *[1] * (x.ndim - 1))
        best, way = np.where(chosen, images, best), np.where(chosen, tried, way)
    return best, highest


def _as_used(results: Sequence[AttackResult], threat: Threat) -> Attack:
    """The strongest ascent of the evaluation, if it can be made again from what its result tells, or else PGD."""
    for result in sorted(filter(is_climb, results), key=lambda result: result.robust_accuracy):
        kind, told = BY_NAME.get(result.name), result.parameters
        loss = getattr(losses, str(told.get("loss")), None)
        if kind is not None and issubclass(kind, GradientAttack) and loss is not None:
            names = {field.name for field in dataclasses.fields(kind)} - {"threat", "loss"}
            return kind(threat, loss=loss, **{name: told[name] for name in names & told.keys()})
    return PGD(threat)
