"""Fast adaptive boundary attack (FAB): a walk along the decision boundary towards the clean image."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.best_iterate import BestIterate, nearness
from tfharden.attacks.core.compiled import rows, traced
from tfharden.attacks.core.criteria import Criterion, predicted_classes, tensor_specs
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.minimum_norm.attack import MinimumNormAttack, Solver
from tfharden.attacks.minimum_norm.linear_boundary import candidate_classes, nearest_boundary
from tfharden.classifiers import Classifier
from tfharden.serialization import registered
from tfharden.threats import Threat
from tfharden.threats.base import image_axes, per_image

# alpha_max, eta and beta of Croce and Hein (2020, arXiv:1907.02044).
LARGEST_BIAS, OVERSHOOT, BACKWARD = 0.1, 1.05, 0.9


@registered
@dataclasses.dataclass(frozen=True)
class FAB(MinimumNormAttack):
    """Steps to the linearised boundary, drawn towards the clean image (Croce and Hein 2020, arXiv:1907.02044).

    x <- (1 - a) (x + 1.05 d) + a (x0 + 1.05 d0), where d and d0 lead from x and from the clean image x0 to the nearest
    hyperplane within the box, and a = min(|d| / (|d| + |d0|), 0.1). An image that has fallen goes back a tenth of the
    way. Whether it has is seen at the next gradient, so a step costs no forward pass of its own.

    Args:
        threat: its norm is what is minimised.
        steps: gradients an example and restart (each of as many classes as the criterion leaves open).
        restarts: walks an example; all but the first start at random, half a ball away.
        seed: of the random starts.
    """

    steps: int = 100
    restarts: int = 1
    _: dataclasses.KW_ONLY
    seed: int = 0

    name = "fab"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("steps", "restarts")

    def _solver(self, classifier: Classifier, kind: type[Criterion]) -> Solver:
        threat = self.threat.with_epsilon(0.0)
        search_once = classifier.compiled((FAB, threat, kind), lambda: _compiled(threat, classifier, kind))
        epsilon = self.threat.epsilon

        def solve(search: SearchState, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            origin, criterion = rows((search.origin, search.criterion), chosen)
            best = BestIterate.empty(origin)
            for restart in range(self.restarts):
                # Half the radius of the ball, or of the distance that is to be beaten.
                radius = tf.minimum(best.distance, epsilon) / (2 * max(epsilon, 1e-12))
                share = radius if restart else tf.zeros_like(radius)
                seed = search.seed(self.seed, restart, int(chosen[0]))
                numbers = tf.constant(epsilon, tf.float32), tf.constant(self.steps)
                found, zero_gradients = search_once(origin, criterion, share, seed, *numbers)
                best = best.update(*found)
                search.gradients[chosen] += self.steps
                search.queries[chosen] += 1
                search.zero_gradients[chosen] += zero_gradients.numpy()
            return best.x.numpy(), best.reached.numpy()

        return solve


def _compiled(threat: Threat, classifier: Classifier, kind: type[Criterion]) -> Callable[..., Any]:
    """A compiled search from one start; its numbers are arguments, so that one serves all attacks of that norm."""
    images = tf.TensorSpec([None, *classifier.input_shape], tf.float32)

    def search_once(
        origin: tf.Tensor, criterion: Criterion, share: tf.Tensor, seed: tf.Tensor, epsilon: tf.Tensor, steps: tf.Tensor
    ) -> tuple[BestIterate, tf.Tensor]:
        """From `share` of the way to a random point of the ball: the nearest image found, and the zero gradients."""
        start = threat.with_epsilon(epsilon).random_start(origin, seed)
        x = origin + per_image(share, origin) * (start - origin)
        return _search(threat, classifier, x, origin, criterion, steps)

    signature = images, tensor_specs(kind), tf.TensorSpec([None]), tf.TensorSpec([2], tf.int32)
    return traced(search_once, *signature, tf.TensorSpec([]), tf.TensorSpec([], tf.int32))


def _search(
    threat: Threat, classifier: Classifier, x: tf.Tensor, origin: tf.Tensor, criterion: Criterion, steps: tf.Tensor
) -> tuple[BestIterate, tf.Tensor]:
    """The nearest image that a number of steps from `x` find, and the number of zero gradients, `[batch]`."""
    classes = candidate_classes(criterion, classifier.num_classes)

    def update(best: BestIterate, received: tf.Tensor, reached: tf.Tensor) -> BestIterate:
        return best.update(received, nearness(reached, threat.distance(received, origin)), reached)

    def step(x: tf.Tensor, best: BestIterate, zero_gradients: tf.Tensor) -> tuple[tf.Tensor, BestIterate, tf.Tensor]:
        received = threat.round_to_lattice(x)
        boundary = nearest_boundary(threat, classifier.logits_fn, received, criterion, classes)
        best = update(best, received, boundary.reached)
        here = tf.where(per_image(boundary.reached, x), origin + BACKWARD * (x - origin), x)
        both, normal = tf.concat([here, origin], axis=0), boundary.normal
        # What is linear at one point is known at every other. That the lattice moved x doesn't matter here: a walk
        # that reckoned with it would stop where the boundary is reached before rounding.
        rise = [boundary.rise - _dot(normal, place - x) for place in (here, origin)]
        moves = threat.nearest_on_hyperplane(both, tf.concat([normal, normal], axis=0), tf.concat(rise, axis=0))
        length, length_origin = tf.split(threat.distance(both + moves, both), 2)
        move, move_origin = tf.split(moves, 2)
        bias = per_image(tf.minimum(tf.math.divide_no_nan(length, length + length_origin), LARGEST_BIAS), x)
        x = (1 - bias) * (here + OVERSHOOT * move) + bias * (origin + OVERSHOOT * move_origin)
        return tf.clip_by_value(x, *threat.bounds), best, zero_gradients + boundary.zero_gradients

    state = (x, BestIterate.empty(x), tf.zeros(tf.shape(x)[:1], tf.int32))
    x, best, zero_gradients = tf.while_loop(lambda *_: True, step, state, maximum_iterations=steps)
    received = threat.round_to_lattice(x)
    reached = criterion.reached(predicted_classes(classifier.logits_fn(received)))
    return update(best, received, reached), zero_gradients


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(a * b, axis=image_axes(a))
