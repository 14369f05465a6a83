"""DeepFool: from one linearised decision boundary to the next, until the class changes."""

import dataclasses
import math
import numbers

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.compiled import rows, traced
from tfharden.attacks.core.criteria import Criterion, Untargeted
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.core.value_and_gradient import answers
from tfharden.attacks.gradient.ascent import per_image
from tfharden.attacks.minimum_norm.attack import MinimumNormAttack, Solver
from tfharden.attacks.minimum_norm.linear_boundary import nearest_boundary, wanted
from tfharden.classifiers import Classifier
from tfharden.errors import InputError
from tfharden.serialization import registered
from tfharden.threats.hyperplane import dual_length


@registered
@dataclasses.dataclass(frozen=True)
class DeepFool(MinimumNormAttack):
    """The shortest step over the nearest hyperplane of the linearised classifier, repeated (Moosavi-Dezfooli 2016).

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
        if not (isinstance(self.overshoot, numbers.Real) and math.isfinite(self.overshoot) and self.overshoot >= 0):
            raise InputError(f"{self.name}: overshoot={self.overshoot!r} has to be a number >= 0")

    def _solver(self, classifier: Classifier, kind: type[Criterion]) -> Solver:
        images, counts = tf.TensorSpec([None, *classifier.input_shape], tf.float32), tf.TensorSpec([None], tf.int32)

        def walk(origin: tf.Tensor, criterion: Criterion) -> tuple[tf.Tensor, ...]:
            return self._walk(classifier, origin, criterion)

        key = (type(self), dataclasses.replace(self, threat=dataclasses.replace(self.threat, epsilon=0.0)), kind)
        run = classifier.compiled(key, lambda: traced(walk, images, kind(*[counts] * len(kind._fields))))

        def solve(search: SearchState, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found, reached, steps, zero_gradients = run(*rows((search.origin, search.criterion), chosen))
            search.gradients[chosen] += steps.numpy()
            search.queries[chosen] += steps.numpy()
            search.zero_gradients[chosen] += zero_gradients.numpy()
            return found.numpy(), reached.numpy()

        return solve

    def _walk(self, classifier: Classifier, origin: tf.Tensor, criterion: Criterion) -> tuple[tf.Tensor, ...]:
        """The last image of each walk, whether it reaches the goal, steps, and how many gradients were zero."""
        threat, classes = self.threat, self._likeliest(classifier, origin, criterion)

        def place(moved: tf.Tensor) -> tf.Tensor:
            return threat.round_to_lattice(tf.clip_by_value(origin + moved, *threat.bounds))

        def fallen(moved: tf.Tensor) -> tf.Tensor:
            return criterion.reached(answers(classifier.logits_fn(place((1 + self.overshoot) * moved))))

        def step(
            moved: tf.Tensor, reached: tf.Tensor, steps: tf.Tensor, zero_gradients: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            boundary = nearest_boundary(threat, classifier.logits_fn, place(moved), criterion, classes)
            length = tf.math.divide_no_nan(boundary.rise, dual_length(threat, boundary.normal))
            way = per_image(length, origin) * threat.steepest(boundary.normal)
            moved += tf.where(per_image(reached, origin), 0.0, way)
            counted = tf.cast(~reached, tf.int32)
            return moved, reached | fallen(moved), steps + counted, zero_gradients + counted * boundary.zero_gradients

        nothing = tf.zeros(tf.shape(origin)[:1], tf.int32)
        moved, reached, steps, zero_gradients = tf.while_loop(
            lambda _, reached, *__: ~tf.reduce_all(reached),
            step,
            (tf.zeros_like(origin), nothing > 0, nothing, nothing),
            maximum_iterations=self.steps,
        )
        return place((1 + self.overshoot) * moved), reached, steps, zero_gradients

    def _likeliest(self, classifier: Classifier, origin: tf.Tensor, criterion: Criterion) -> tf.Tensor:
        """The classes whose boundaries are looked at, `[batch, count]` with a static count."""
        classes = wanted(criterion, classifier.num_classes)
        if not isinstance(criterion, Untargeted) or self.classes >= classes.shape[1]:
            return classes
        logits = tf.gather(classifier.logits_fn(origin), classes, batch_dims=1)
        return tf.gather(classes, tf.math.top_k(logits, self.classes).indices, batch_dims=1)
