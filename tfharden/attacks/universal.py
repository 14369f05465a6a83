"""Universal perturbation: one change that fools a classifier on most images, also those it was not fitted on."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.attack import Attack
from tfharden.attacks.core.compiled import rows, traced
from tfharden.attacks.core.criteria import (
    Criterion,
    Targeted,
    Towards,
    Untargeted,
    criterion_value,
    subset,
    tensor_specs,
)
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.core.value_and_gradient import value_and_gradient
from tfharden.classifiers import Classifier
from tfharden.data import sha256
from tfharden.data.examples import Examples, check_images, check_labels
from tfharden.errors import InputError
from tfharden.losses import Loss, cross_entropy
from tfharden.serialization import registered
from tfharden.threats import Threat

# An image whose loss is this many times that of guessing counts no more: it errs already, others have to.
LOSS_CEILING = 2.0
# Length of the first step in epsilons. All steps together are at least so many epsilons long, across the ball and back.
FIRST_STEP, SHORTEST_PATH = 0.25, 2.5


@registered
@dataclasses.dataclass(frozen=True, eq=False)
class Universal(Attack):
    """One perturbation for all images, fitted on some and tried on others.

    Moosavi-Dezfooli et al. 2017, arXiv:1610.08401:

        max_delta  mean_i min(J(x_i + delta, y_i), ceiling)   with delta in the ball

    by steepest ascent on batches (Shafahi et al. 2020, arXiv:1811.11304), each image cut to the box. The ascent is led
    into local optima in which nearly all images become one class, so it is repeated towards each of the likeliest such
    classes and once more from the best of those; the perturbation that fells most of the fitting images is kept.

    A target has a perturbation of its own. Fitting costs the images that are attacked nothing: their `gradients` are 0.

    Args:
        threat: ball and box.
        examples: images and labels that the perturbation is fitted on, other ones than those it is judged on.
        epochs: passes over them an ascent.
        batch_size: images a step.
        step_size: length of the first step, from which steps shrink linearly to 0; epsilon / 4 by default, or more
            where there are less than 20 steps.
        classes: how many classes are tried as the one that images become.
        loss: per-example loss that is climbed; for a target, its targeted form.
        seed: of the order of the images.
    """

    threat: Threat
    _: dataclasses.KW_ONLY
    examples: Examples | None = None
    epochs: int = 5
    batch_size: int = 128
    step_size: float | None = None
    classes: int = 10
    loss: Loss = cross_entropy
    seed: int = 0

    name = "uap"
    access = "white-box"
    kind = "universal"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("epochs", "batch_size", "classes")
        self._check_number("step_size", above=0, optional=True)

    def fit(
        self, classifier: Classifier, target: int | None = None, progress: Callable[[float], None] = lambda share: None
    ) -> np.ndarray:
        """The perturbation for this classifier, float32 of the shape of one image.

        Args:
            classifier: what is to be fooled.
            target: the class that images are to become; any other than their own without.
            progress: is told the share of the work that is done.

        Raises:
            InputError: no examples, examples or a target that don't fit the classifier, a classifier without gradients.
        """
        if target is not None and not 0 <= target < classifier.num_classes:
            raise InputError(f"target {target} is none of the {classifier.num_classes} classes of {classifier.name}")
        return self._fit(classifier, Untargeted if target is None else Targeted, target, progress)

    def moved(self, classifier: Classifier, delta: np.ndarray, images: np.ndarray) -> np.ndarray:
        """The images that `classifier` receives under the perturbation, `[n, ...]`: in ball, box and lattice."""
        threat = classifier.restrict_threat(self.threat)
        origin = threat.round_to_lattice(check_images(images, classifier.input_shape, self.threat.bounds))
        return np.asarray(_moved(threat, origin, np.asarray(delta, np.float32)))

    def fooling_rate(self, classifier: Classifier, delta: np.ndarray, images: np.ndarray) -> float:
        """Share of the images that the perturbation gives another class, right or wrong."""
        still = self.moved(classifier, np.zeros_like(delta), images)
        return float(np.mean(classifier.predict(self.moved(classifier, delta, images)) != classifier.predict(still)))

    def parameters(self) -> dict[str, Any]:
        """Everything that was chosen, in plain values; the examples by their number and hash."""
        parameters = super().parameters()
        if self.examples is not None:
            parameters["examples"] = {"number": len(self.examples[0]), "sha256": sha256(self.examples)}
        return parameters

    def _prepare(self, classifier: Classifier) -> Callable[[SearchState], None]:
        fitted: dict[Any, np.ndarray] = {}

        def run(search: SearchState) -> None:
            criterion = search.criterion
            targets = [None] if isinstance(criterion, Untargeted) else sorted(set(criterion.targets.tolist()))
            for target in targets:
                key = type(criterion), target
                if key not in fitted:
                    fitted[key] = self._fit(classifier, *key, search.report)
                chosen = search.unsolved
                if not isinstance(criterion, Untargeted):
                    chosen = chosen[criterion.targets[chosen] == target]
                if len(chosen):
                    self._try(classifier, search, chosen, fitted[key])

        return run

    def _fit(
        self, classifier: Classifier, kind: type[Criterion], target: int | None, progress: Callable[[float], None]
    ) -> np.ndarray:
        if self.examples is None:
            raise InputError(f"{self.name} is fitted on other images than those it is judged on: give examples=")
        classifier.require_gradients()
        threat = classifier.restrict_threat(self.threat)
        low, high = threat.bounds
        # A device may receive less than the examples span, and cuts them; examples of another range are a mistake.
        x = check_images(self.examples[0], classifier.input_shape, (2 * low - high, 2 * high - low))
        y = check_labels(self.examples[1], len(x), classifier.num_classes)
        fitting = _Fitting(self.with_threat(threat), classifier, threat.received(x), progress)
        if target is not None:
            fitting.ascend(kind._make((y, np.full_like(y, target))), ascents=1)
            return fitting.best[0]
        count = min(self.classes, classifier.num_classes)
        first = fitting.ascend(Untargeted(y), ascents=count + 2)
        answers = np.bincount(first[first >= 0], minlength=classifier.num_classes)
        for likely in np.argsort(-answers, kind="stable")[:count]:
            fitting.ascend(Towards(y, np.full_like(y, likely)), ascents=count + 2)
        fitting.ascend(Untargeted(y), ascents=count + 2, start=fitting.best)
        return fitting.best[0]

    def _try(self, classifier: Classifier, search: SearchState, chosen: np.ndarray, delta: np.ndarray) -> None:
        origin = search.origin[chosen]
        search.adversarial[chosen] = _moved(self.threat, origin, delta)
        criterion = subset(search.criterion, chosen)
        search.solved[chosen] = criterion.reached(classifier.predict(search.adversarial[chosen]))
        search.queries[chosen] += 1


class _Fitting:
    """Ascents of one perturbation on one classifier, and the best found in any of them."""

    def __init__(
        self, attack: Universal, classifier: Classifier, images: np.ndarray, progress: Callable[[float], None]
    ) -> None:
        self.attack, self.classifier, self.images, self.progress = attack, classifier, images, progress
        self.best, self.best_share, self.passes = np.zeros_like(images[:1]), -1.0, 0
        self._random = np.random.default_rng(attack.seed)

    def ascend(self, criterion: Criterion, ascents: int, start: np.ndarray | None = None) -> np.ndarray:
        """One ascent of the `ascents` that are planned; returns the classes of the images at its end."""
        attack, count = self.attack, len(self.images)
        batches = -(-count // attack.batch_size)
        share = max(FIRST_STEP, 2 * SHORTEST_PATH / (attack.epochs * batches))
        first = share * attack.threat.epsilon if attack.step_size is None else attack.step_size
        step, epsilon = self._compiled_step(type(criterion)), tf.constant(attack.threat.epsilon, tf.float32)
        delta = tf.zeros_like(self.images[:1]) if start is None else tf.constant(start)
        for epoch in range(attack.epochs):
            order = self._random.permutation(count)
            for batch in range(batches):
                chosen = order[batch * attack.batch_size : (batch + 1) * attack.batch_size]
                given = rows((self.images, criterion), chosen)
                size = first * (1 - (epoch + batch / batches) / attack.epochs)
                delta = step(delta, *given, tf.constant(size, tf.float32), epsilon)
            classes = self.classifier.predict(np.asarray(_moved(attack.threat, self.images, delta)))
            reached = float(np.mean(criterion.reached(classes)))
            if reached >= self.best_share:
                self.best, self.best_share = delta.numpy(), reached
            self.passes += 1
            self.progress(self.passes / (ascents * attack.epochs))
        return classes

    def _compiled_step(self, kind: type[Criterion]) -> Callable[..., tf.Tensor]:
        """A compiled step of the perturbation up the mean loss of a batch; length and radius are arguments."""
        classifier, loss, threat = self.classifier, self.attack.loss, self.attack.threat.with_epsilon(0.0)
        return classifier.compiled((Universal, loss, threat, kind), lambda: _step(classifier, loss, threat, kind))


def _step(classifier: Classifier, loss: Loss, threat: Threat, kind: type[Criterion]) -> Callable[..., tf.Tensor]:
    span = threat.bounds[1] - threat.bounds[0]
    ball = threat.restrict((-span, span), None)  # the perturbation itself, as an image near nothing
    ceiling = LOSS_CEILING * math.log(classifier.num_classes)

    def step(
        delta: tf.Tensor, origin: tf.Tensor, criterion: Criterion, size: tf.Tensor, epsilon: tf.Tensor
    ) -> tf.Tensor:
        value_fn = criterion_value(classifier.logits_fn, criterion, loss)

        def capped(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            values, reached = value_fn(x)
            return tf.minimum(values, ceiling), reached

        seen = value_and_gradient(capped, _moved(threat, origin, delta))
        # What the box cuts off of an image doesn't move with the perturbation.
        shifted = origin + delta
        free = shifted == tf.clip_by_value(shifted, *threat.bounds)
        mean = tf.reduce_mean(tf.where(free, seen.gradient, 0.0), axis=0, keepdims=True)
        bounded = ball.with_epsilon(epsilon)
        return bounded.project(bounded.step(delta, mean, size), tf.zeros_like(delta))

    shape = [None, *classifier.input_shape]
    number = tf.TensorSpec([])
    return traced(step, tf.TensorSpec([1, *shape[1:]]), tf.TensorSpec(shape), tensor_specs(kind), number, number)


def _moved(threat: Threat, origin: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """Images under the perturbation: the box shortens it, the lattice rounds it towards nothing."""
    return threat.round_to_lattice_in_ball(tf.clip_by_value(origin + delta, *threat.bounds), origin)
