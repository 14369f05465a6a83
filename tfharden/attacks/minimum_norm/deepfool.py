"""DeepFool: steps from one linearised decision boundary to the next, until the class changes."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.compiled import rows, traced
from tfharden.attacks.core.criteria import Criterion, Untargeted, predicted_classes, tensor_specs
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.minimum_norm.attack import MinimumNormAttack, Solver
from tfharden.attacks.minimum_norm.linear_boundary import candidate_classes, nearest_boundary
from tfharden.classifiers import Classifier
from tfharden.serialization import registered
from tfharden.threats import Threat
from tfharden.threats.base import per_image


@registered
@dataclasses.dataclass(frozen=True)
class DeepFool(MinimumNormAttack):
    """The shortest step over the nearest hyperplane of the linearised classifier, repeated.

    Moosavi-Dezfooli et al. 2016, arXiv:1511.04599:

        r <- r + argmin { |d| : f_k(x) - f_y(x) + (grad f_k - grad f_y) . d = 0 for a class k },  x = x0 + r

    until x0 + (1 + overshoot) r has changed its class, both cut to the box of valid inputs. The hyperplane is that of
    the whole space: the box shortens a step, which comes nearer on curved boundaries than a step to the hyperplane
    within the box. FAB goes on where DeepFool stops.

    Args:
        threat: its norm is what is minimised.
        steps: steps an example, at most.
        overshoot: share of the way that is gone beyond the boundary (0.02 in the paper).
        classes: how many of the likeliest wrong classes are looked at; a step costs as many backward passes.
    """

    steps: int = 50
    overshoot: float = 0.005
    classes: int = 9

    name = "deepfool"
    norms = ("Linf", "L2")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("steps", "classes")
        self._check_number("overshoot", least=0)

    def _solver(self, classifier: Classifier, kind: type[Criterion]) -> Solver:
        threat = self.threat.with_epsilon(0.0)
        key = DeepFool, threat, self.classes, kind
        run = classifier.compiled(key, lambda: _compiled(threat, self.classes, classifier, kind))
        numbers = tf.constant(1 + self.overshoot, tf.float32), tf.constant(self.steps)

        def solve(search: SearchState, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found, reached, steps, zero_gradients = run(*rows((search.origin, search.criterion), chosen), *numbers)
            search.gradients[chosen] += steps.numpy()
            search.queries[chosen] += steps.numpy()
            search.zero_gradients[chosen] += zero_gradients.numpy()
            return found.numpy(), reached.numpy()

        return solve


def _compiled(threat: Threat, count: int, classifier: Classifier, kind: type[Criterion]) -> Callable[..., Any]:
    """The compiled search among `count` classes; its numbers are arguments."""

    def search(
        origin: tf.Tensor, criterion: Criterion, stretch: tf.Tensor, most_steps: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """The last image of each walk, whether it reaches the criterion, steps, and how many gradients were zero."""
        classes = _likeliest(classifier, origin, criterion, count)

        def received(moved: tf.Tensor) -> tf.Tensor:
            return threat.round_to_lattice(tf.clip_by_value(origin + moved, *threat.bounds))

        def step(
            moved: tf.Tensor, reached: tf.Tensor, steps: tf.Tensor, zero_gradients: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            boundary = nearest_boundary(threat, classifier.logits_fn, received(moved), criterion, classes)
            length = tf.math.divide_no_nan(boundary.rise, threat.dual_length(boundary.normal))
            move = per_image(length, origin) * threat.steepest(boundary.normal)
            moved += tf.where(per_image(reached, origin), 0.0, move)
            counted = tf.cast(~reached, tf.int32)
            reached |= criterion.reached(predicted_classes(classifier.logits_fn(received(stretch * moved))))
            return moved, reached, steps + counted, zero_gradients + counted * boundary.zero_gradients

        nothing = tf.zeros(tf.shape(origin)[:1], tf.int32)
        moved, reached, steps, zero_gradients = tf.while_loop(
            lambda _, reached, *__: ~tf.reduce_all(reached),
            step,
            (tf.zeros_like(origin), nothing > 0, nothing, nothing),
            maximum_iterations=most_steps,
        )
        return received(stretch * moved), reached, steps, zero_gradients

    images = tf.TensorSpec([None, *classifier.input_shape], tf.float32)
    return traced(search, images, tensor_specs(kind), tf.TensorSpec([]), tf.TensorSpec([], tf.int32))


def _likeliest(classifier: Classifier, origin: tf.Tensor, criterion: Criterion, count: int) -> tf.Tensor:
    """The classes whose boundaries are looked at, `[batch, count]` with a static count."""
    classes = candidate_classes(criterion, classifier.num_classes)
    if not isinstance(criterion, Untargeted) or count >= classes.shape[1]:
        return classes
    logits = tf.gather(classifier.logits_fn(origin), classes, batch_dims=1)
    return tf.gather(classes, tf.math.top_k(logits, count).indices, batch_dims=1)
