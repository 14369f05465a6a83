"""DIVA: images that fool a file and not the model that it was made from."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.attack import Attack
from tfharden.attacks.core.compiled import traced
from tfharden.attacks.core.criteria import predicted_classes
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.core.value_and_gradient import ValueFn
from tfharden.attacks.gradient.ascent import Iterate, StepRule, ascend
from tfharden.attacks.gradient.attack import STEPS_PER_CALL
from tfharden.attacks.gradient.mi_fgsm import Momentum
from tfharden.classifiers import BATCH_SIZE, Classifier
from tfharden.errors import InputError
from tfharden.losses import cross_entropy, margin
from tfharden.threats import Threat

# From images, clean images, classes, steps taken, steps to take and the numbers of the step rule to further images.
Advance = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
# Length of the first step, in epsilons, times the number of steps.
FIRST_STEP = 8.0
# The smaller of two margins is now one, now the other: their gradients, of the last few steps, have to be averaged.
DECAY = 0.9


@dataclasses.dataclass(frozen=True)
class DIVA(Attack):
    """Images on which the classifier errs while its source stays right (DIVA, Hao et al. 2022).

    A user who checks the source sees nothing of it. The paper climbs p_source(y) - p_classifier(y), which is content
    with a source that is all but wrong. Where both models are nearly one function, what is sought lies in a thin layer
    between their boundaries, and

        min(margin of y in the source, -margin of y in the classifier)

    is above 0 exactly there: climbed in shrinking steps it finds several times as many. An image is dropped as soon
    as both answer as wanted; one that never gets there counts by the classifier alone, like that of any attack:
    `evaded` tells them apart.

    Args:
        threat: ball and box.
        source: what has to stay right; differentiable, of the same images and classes.
        steps: gradients of either model, an image and restart.
        climbs: "margins", or the paper's "probabilities".
        restarts: random points.
        seed: of these.
    """

    threat: Threat
    source: Classifier
    steps: int = 40
    _: dataclasses.KW_ONLY
    climbs: str = "margins"
    restarts: int = 5
    seed: int = 0

    name = "diva"
    access = "white-box"
    kind = "ascent"
    targetable = False
    random_start = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("steps", "restarts")
        if self.climbs not in _VALUES:
            raise InputError(f"{self.name}: climbs {' or '.join(_VALUES)}, not {self.climbs!r}")

    def evaded(self, classifier: Classifier, images: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether the classifier errs on images `[n, ...]` of which the source knows the classes `y`, `[n]`."""
        return (classifier.predict(images) != y) & (self.source.predict(images) == y)

    def _search(self, classifier: Classifier, search: SearchState) -> None:
        for model in (classifier, self.source):
            model.require_gradients()
        rule = self._rule
        key = DIVA, self.source, self.climbs, rule.with_numbers([0.0] * len(rule.numbers))
        advance = classifier.compiled(key, lambda: self._compiled(classifier))
        for restart in range(self.restarts):
            left = search.unsolved
            for first in range(0, len(left), BATCH_SIZE):
                self._ascend(classifier, advance, search, left[first : first + BATCH_SIZE], restart)
                search.report((restart + min(1.0, (first + BATCH_SIZE) / len(left))) / self.restarts)

    def _ascend(
        self, classifier: Classifier, advance: Advance, search: SearchState, chosen: np.ndarray, restart: int
    ) -> None:
        origin, y = search.origin[chosen], search.criterion.labels[chosen].astype(np.int32)
        x = self.threat.random_start(tf.constant(origin), search.seed(self.seed, restart, int(chosen[0]))).numpy()
        numbers = tf.constant(self._rule.numbers, tf.float32)
        for taken in range(0, self.steps, STEPS_PER_CALL):
            if not len(chosen):
                return
            steps = min(STEPS_PER_CALL, self.steps - taken)
            x = advance(*map(tf.constant, (x, origin, y, taken, steps, numbers))).numpy()
            received = np.asarray(self.threat.round_to_lattice_in_ball(x, origin))
            done = self.evaded(classifier, received, y)
            search.gradients[chosen] += steps
            search.queries[chosen] += 1
            search.adversarial[chosen] = received
            search.solved[chosen] = done
            chosen, origin, y, x = (array[~done] for array in (chosen, origin, y, x))

    @property
    def _rule(self) -> StepRule:
        return ShrinkingMomentum(self.threat, FIRST_STEP * self.threat.epsilon / self.steps, DECAY, self.steps)

    def _compiled(self, classifier: Classifier) -> Advance:
        def advance(
            x: tf.Tensor, origin: tf.Tensor, y: tf.Tensor, first: tf.Tensor, steps: tf.Tensor, numbers: tf.Tensor
        ) -> tf.Tensor:
            rule = self._rule.with_numbers(tf.unstack(numbers))
            project = rule.threat.projector(origin)
            return ascend(self._value_fn(classifier, origin, y), x, project, rule, steps, first=first).x

        images, whole = tf.TensorSpec([None, *classifier.input_shape], tf.float32), tf.TensorSpec([], tf.int32)
        numbers = tf.TensorSpec([len(self._rule.numbers)])
        return traced(advance, images, images, tf.TensorSpec([None], tf.int32), whole, whole, numbers)

    def _value_fn(self, classifier: Classifier, origin: tf.Tensor, y: tf.Tensor) -> ValueFn:
        """What is climbed, and whether the classifier errs while the source is right."""

        def value_fn(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # Both get what the classifier can receive: the layer is thinner than a step of its lattice.
            received = x + tf.stop_gradient(self.threat.round_to_lattice_in_ball(x, origin) - x)
            source, own = self.source.logits_fn(received), classifier.logits_fn(received)
            reached = (predicted_classes(own) != y) & (predicted_classes(source) == y)
            return _VALUES[self.climbs](source, own, y), reached

        return value_fn


@dataclasses.dataclass(frozen=True)
class ShrinkingMomentum(Momentum):
    """Steps with momentum that shrink linearly to nothing over `steps`."""

    steps: int

    def update(self, iterate: Iterate, state: Any) -> tuple[tf.Tensor, Any]:  # noqa: ANN401, D102
        size = self.size * (1.0 - tf.cast(iterate.index, tf.float32) / self.steps)
        return Momentum(self.threat, size, self.decay).update(iterate, state)


def _margins(source: tf.Tensor, own: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.minimum(-margin(source, labels), margin(own, labels))


def _probabilities(source: tf.Tensor, own: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    return tf.exp(-cross_entropy(source, labels)) - tf.exp(-cross_entropy(own, labels))


_VALUES = {"margins": _margins, "probabilities": _probabilities}
