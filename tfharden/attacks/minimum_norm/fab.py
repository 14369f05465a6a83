"""FAB: the fast adaptive boundary attack, which walks along the decision boundary towards the clean image."""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.criteria import Criterion
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.core.value_and_gradient import answers
from tfharden.attacks.gradient.ascent import per_image
from tfharden.attacks.minimum_norm.attack import MinimumNormAttack, Solver
from tfharden.attacks.minimum_norm.linear_boundary import nearest_boundary, wanted
from tfharden.classifiers import Classifier
from tfharden.serialization import registered
from tfharden.threats.base import image_axes
from tfharden.threats.hyperplane import crossing

# alpha_max, eta and beta of Croce and Hein (2020).
MOST_BIAS, OVERSHOOT, BACKWARD = 0.1, 1.05, 0.9


class _Nearest(NamedTuple):
    """The nearest image so far that reaches the goal, and how far it is: infinity where there is none."""

    x: tf.Tensor
    distance: tf.Tensor

    def after(self, x: tf.Tensor, reached: tf.Tensor, distance: tf.Tensor) -> "_Nearest":
        nearer = reached & (distance < self.distance)
        return _Nearest(tf.where(per_image(nearer, x), x, self.x), tf.where(nearer, distance, self.distance))


@registered
@dataclasses.dataclass(frozen=True)
class FAB(MinimumNormAttack):
    """Steps to the linearised boundary, drawn towards the clean image (Croce and Hein 2020).

    x <- (1 - a) (x + 1.05 d) + a (x0 + 1.05 d0), where d and d0 lead from x and from the clean image x0 to the nearest
    hyperplane within the box, and a = min(|d| / (|d| + |d0|), 0.1). An image that has fallen goes back a tenth of the
    way. Whether it has is seen at the next gradient, so a step costs no forward pass of its own.

    Args:
        threat: its norm is what is minimised.
        steps: gradients an example and restart (each of as many classes as the goal leaves open).
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
        images, counts = tf.TensorSpec([None, *classifier.input_shape], tf.float32), tf.TensorSpec([None], tf.int32)
        signature = [images, kind(*[counts] * len(kind._fields)), tf.TensorSpec([None], tf.float32)]

        def walk(
            origin: tf.Tensor, criterion: Criterion, share: tf.Tensor, seed: tf.Tensor
        ) -> tuple[_Nearest, tf.Tensor]:
            return self._walk(classifier, origin, criterion, share, seed)

        run = tf.function(walk, input_signature=[*signature, tf.TensorSpec([2], tf.int32)], autograph=False)

        def solve(search: SearchState, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            origin = tf.constant(search.origin[chosen])
            criterion = tf.nest.map_structure(lambda array: tf.constant(array[chosen]), search.criterion)
            best = _Nearest(origin, tf.fill([len(chosen)], np.float32(np.inf)))
            for restart in range(self.restarts):
                # Half the radius of the ball, or of the distance that is to be beaten.
                radius = tf.minimum(best.distance, self.threat.epsilon) / (2 * max(self.threat.epsilon, 1e-12))
                share = radius if restart else tf.zeros_like(radius)
                found, zero_gradients = run(origin, criterion, share, search.seed(self.seed, restart, int(chosen[0])))
                best = best.after(found.x, found.distance < np.inf, found.distance)
                search.gradients[chosen] += self.steps
                search.queries[chosen] += 1
                search.zero_gradients[chosen] += zero_gradients.numpy()
            return best.x.numpy(), np.isfinite(best.distance.numpy())

        return solve

    def _walk(
        self, classifier: Classifier, origin: tf.Tensor, criterion: Criterion, share: tf.Tensor, seed: tf.Tensor
    ) -> tuple[_Nearest, tf.Tensor]:
        """From `share` of the way to a random point of the ball: the nearest image found, and the zero gradients."""
        threat, classes = self.threat, wanted(criterion, classifier.num_classes)

        def step(x: tf.Tensor, best: _Nearest, zero_gradients: tf.Tensor) -> tuple[tf.Tensor, _Nearest, tf.Tensor]:
            received = threat.round_to_lattice(x)
            boundary = nearest_boundary(threat, classifier.logits_fn, received, criterion, classes)
            best = best.after(received, boundary.reached, threat.distance(received, origin))
            here = tf.where(per_image(boundary.reached, x), origin + BACKWARD * (x - origin), x)
            both, normal = tf.concat([here, origin], axis=0), boundary.normal
            # What is linear at one point is known at every other. That the lattice moved x is none of its concern: a
            # walk that reckoned with it would stop where the boundary is reached before rounding.
            rise = [boundary.rise - _dot(normal, place - x) for place in (here, origin)]
            moves = crossing(threat, both, tf.concat([normal, normal], axis=0), tf.concat(rise, axis=0))
            length, length_origin = tf.split(threat.distance(both + moves, both), 2)
            move, move_origin = tf.split(moves, 2)
            bias = per_image(tf.minimum(tf.math.divide_no_nan(length, length + length_origin), MOST_BIAS), x)
            x = (1 - bias) * (here + OVERSHOOT * move) + bias * (origin + OVERSHOOT * move_origin)
            return tf.clip_by_value(x, *threat.bounds), best, zero_gradients + boundary.zero_gradients

        x = origin + per_image(share, origin) * (threat.random_start(origin, seed) - origin)
        batch = tf.shape(x)[:1]
        state = (x, _Nearest(x, tf.fill(batch, np.float32(np.inf))), tf.zeros(batch, tf.int32))
        x, best, zero_gradients = tf.while_loop(lambda *_: True, step, state, maximum_iterations=self.steps)
        received = threat.round_to_lattice(x)
        reached = criterion.reached(answers(classifier.logits_fn(received)))
        return best.after(received, reached, threat.distance(received, origin)), zero_gradients


def _dot(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(a * b, axis=image_axes(a))
