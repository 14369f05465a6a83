"""Jacobian-based saliency map attack (JSMA): as few values as possible, each changed as far as it goes."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.compiled import rows, traced, write_rows
from tfharden.attacks.core.criteria import Criterion, Untargeted, predicted_classes, subset, tensor_specs
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.core.value_and_gradient import value_and_gradient
from tfharden.attacks.minimum_norm.attack import MinimumNormAttack, Solver
from tfharden.classifiers import Classifier
from tfharden.serialization import registered
from tfharden.threats import L0
from tfharden.threats.base import per_image

# Steps of one call of the compiled search; between two calls the examples that are done are dropped.
STEPS_PER_CALL = 8


class GreedySearch(NamedTuple):
    """A greedy search under way.

    Attributes:
        x: images, `[batch, ...]`.
        gradient: the last one computed, `[batch, ...]`.
        succeeded: whether the criterion is reached, `[batch]`.
        stuck: whether no value is left whose change would help, `[batch]`.
        gradients: number of gradients taken, `[batch]`.
        zero_gradients: how many of them were zero or not finite over the whole image, `[batch]`.
    """

    x: Any
    gradient: Any
    succeeded: Any
    stuck: Any
    gradients: Any
    zero_gradients: Any

    @classmethod
    def begin(cls, origin: np.ndarray) -> "GreedySearch":
        """At the clean images."""
        count = len(origin)
        verdicts, numbers = (np.zeros(count, bool) for _ in range(2)), (np.zeros(count, np.int32) for _ in range(2))
        return cls(origin.copy(), np.zeros_like(origin), *verdicts, *numbers)

    @property
    def over(self) -> Any:  # noqa: ANN401
        """Whether there is nothing more to do, `[batch]`."""
        return self.succeeded | self.stuck


@registered
@dataclasses.dataclass(frozen=True)
class JSMA(MinimumNormAttack):
    """The most salient value goes to the edge of the box, until the criterion is reached.

    Papernot et al. 2016, arXiv:1511.07528. Of softmax outputs the paper's saliency map is the square of the slope of
    the class's probability, for the slopes of the others add up to its negative. It ranks values as the slope of the
    log-odds log(p / (1 - p)) does, which is taken here since it doesn't vanish where the model is sure; times the room
    to the edge, it says what a change is worth. Values go to either edge, whichever helps. Without a target the odds of
    the true class go down.

    In the end every change is taken back, from the least useful on, where the criterion stays reached without it.

    Args:
        threat: an L0 threat, whose epsilon counts values.
        most: share of the values that may change, at most (0.145 in the paper).
        values: how many of them change in a step (2 in the paper): more take fewer gradients and more queries.
    """

    threat: L0
    most: float = 0.2
    values: int = 1

    name = "jsma"
    norms = ("L0",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("values")
        self._check_number("most", above=0, most=1)

    def _solver(self, classifier: Classifier, kind: type[Criterion]) -> Solver:
        threat = self.threat.with_epsilon(0.0)
        values = min(self.values, math.prod(classifier.input_shape))
        key = JSMA, threat, values, kind
        compiled = classifier.compiled(key, lambda: _Compiled(threat, values, classifier, kind))
        steps = max(int(self.most * math.prod(classifier.input_shape)) // values, 1)

        def solve(search: SearchState, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            origin = search.origin[chosen]
            criterion = subset(search.criterion, chosen)
            state = GreedySearch.begin(origin)
            left = np.arange(len(chosen))
            for first in range(0, steps, STEPS_PER_CALL):
                given = rows((state, origin, criterion), left)
                write_rows(state, left, compiled.advance(*given, tf.constant(min(STEPS_PER_CALL, steps - first))))
                left = left[~state.over[left]]
                if not len(left):
                    break
            found, reached, queries = (
                t.numpy() for t in compiled.conclude(*rows((state, origin, criterion), slice(None)))
            )
            search.gradients[chosen] += state.gradients
            search.zero_gradients[chosen] += state.zero_gradients
            search.queries[chosen] += queries
            return found, reached

        return solve


class _Compiled:
    """The compiled parts of the attack on one classifier; the batch axis is free, so each is traced once."""

    def __init__(self, threat: L0, values: int, classifier: Classifier, kind: type[Criterion]) -> None:
        self.values, self.logits_fn = values, classifier.logits_fn
        # The ends of the box as a device receives them.
        self.bottom, self.top = (float(threat.round_to_lattice(tf.constant(edge))) for edge in threat.bounds)
        images, verdicts = tf.TensorSpec([None, *classifier.input_shape], tf.float32), tf.TensorSpec([None], tf.bool)
        counts, criteria = tf.TensorSpec([None], tf.int32), tensor_specs(kind)
        state = GreedySearch(images, images, verdicts, verdicts, counts, counts)
        self.advance = traced(self._advance, state, images, criteria, tf.TensorSpec([], tf.int32))
        self.conclude = traced(self._conclude, state, images, criteria)

    def _advance(self, state: GreedySearch, origin: tf.Tensor, criterion: Criterion, steps: tf.Tensor) -> GreedySearch:
        """Some steps on the images that are not over."""

        def value_fn(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            logits = self.logits_fn(x)
            return _log_odds(logits, criterion), criterion.reached(predicted_classes(logits))

        def body(state: GreedySearch) -> tuple[GreedySearch]:
            going = ~state.over
            seen = value_and_gradient(value_fn, state.x)
            gradient = tf.where(per_image(going, origin), seen.slope, state.gradient)
            succeeded = state.succeeded | (going & seen.reached)
            edge = tf.where(gradient > 0, self.top, self.bottom)
            saliency = tf.where(state.x == origin, gradient * (edge - origin), 0.0)
            chosen = self._largest(saliency)
            stuck = state.stuck | ~(succeeded | tf.reduce_any(tf.reshape(chosen, [tf.shape(origin)[0], -1]), axis=1))
            x = tf.where(chosen & per_image(~(succeeded | stuck), origin), edge, state.x)
            count = tf.cast(going, tf.int32)
            zero_gradients = state.zero_gradients + count * seen.zero_gradients
            return (GreedySearch(x, gradient, succeeded, stuck, state.gradients + count, zero_gradients),)

        (state,) = tf.while_loop(lambda state: ~tf.reduce_all(state.over), body, (state,), maximum_iterations=steps)
        return state

    def _largest(self, saliency: tf.Tensor) -> tf.Tensor:
        """Where the largest values above zero stand, as many as a step changes."""
        flat = tf.reshape(saliency, [tf.shape(saliency)[0], -1])
        largest, places = tf.math.top_k(flat, self.values)
        rows = tf.broadcast_to(tf.range(tf.shape(flat)[0])[:, None], tf.shape(places))
        above = tf.scatter_nd(tf.stack([rows, places], axis=-1), tf.cast(largest > 0, tf.int32), tf.shape(flat))
        return tf.reshape(above > 0, tf.shape(saliency))

    def _conclude(
        self, state: GreedySearch, origin: tf.Tensor, criterion: Criterion
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The images without the changes that they don't need, whether they reach the criterion, and queries taken."""
        # The last step of a search that isn't over has not been judged.
        succeeded = state.succeeded | (~state.stuck & self._reached(state.x, criterion))
        change, shape = state.x - origin, tf.shape(origin)
        changed = tf.reshape(change != 0, [shape[0], -1])
        worth = tf.where(changed, tf.reshape(state.gradient * change, [shape[0], -1]), origin.dtype.max)
        order = tf.argsort(worth, axis=1, stable=True)
        # A single change can't be taken back: the clean image doesn't reach the criterion.
        counts = tf.reduce_sum(tf.cast(changed, tf.int32), axis=1)
        counts = tf.where(succeeded & (counts > 1), counts, 0)

        def body(index: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            here = tf.one_hot(order[:, index], tf.shape(order)[1], on_value=True, off_value=False, dtype=tf.bool)
            without = tf.where(tf.reshape(here, shape), origin, x)
            spare = (index < counts) & self._reached(without, criterion)
            return index + 1, tf.where(per_image(spare, x), without, x)

        _, x = tf.while_loop(lambda index, _: index < tf.reduce_max(counts), body, (0, state.x))
        return x, succeeded, tf.cast(~state.over, tf.int32) + counts

    def _reached(self, x: tf.Tensor, criterion: Criterion) -> tf.Tensor:
        return criterion.reached(predicted_classes(self.logits_fn(x)))


def _log_odds(logits: tf.Tensor, criterion: Criterion) -> tf.Tensor:
    """log(p / (1 - p)) of a target, or the log-odds against the true class, `[batch]`."""
    classes = criterion.labels if isinstance(criterion, Untargeted) else criterion.targets
    own = tf.one_hot(classes, tf.shape(logits)[-1], on_value=True, off_value=False, dtype=tf.bool)
    others = tf.reduce_logsumexp(tf.where(own, logits.dtype.min, logits), axis=-1)
    odds = tf.gather(logits, classes, batch_dims=1) - others
    return -odds if isinstance(criterion, Untargeted) else odds
