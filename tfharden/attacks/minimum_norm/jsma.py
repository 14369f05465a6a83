"""The Jacobian-based saliency map attack: as few values as possible, each changed as far as it goes."""

import dataclasses
import math
import numbers
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.compiled import rows, traced, write_rows
from tfharden.attacks.core.criteria import Criterion, Untargeted
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.core.value_and_gradient import answers, look
from tfharden.attacks.gradient.ascent import per_image
from tfharden.attacks.minimum_norm.attack import MinimumNormAttack, Solver
from tfharden.classifiers import Classifier
from tfharden.errors import InputError
from tfharden.serialization import registered
from tfharden.threats import L0

# Steps between two looks at which examples have fallen.
STRIDE = 8


class Walk(NamedTuple):
    """A greedy search under way.

    Attributes:
        x: images, `[batch, ...]`.
        gradient: the last one seen, `[batch, ...]`.
        succeeded: whether the goal is reached, `[batch]`.
        stuck: whether no value is left whose change would help, `[batch]`.
        looks: gradients taken, `[batch]`.
        zero_gradients: how many of them were zero or not finite over the whole image, `[batch]`.
    """

    x: Any
    gradient: Any
    succeeded: Any
    stuck: Any
    looks: Any
    zero_gradients: Any

    @classmethod
    def begin(cls, origin: np.ndarray) -> "Walk":
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
    """Papernot et al. 2016: the most salient value goes to the edge of the box, until the goal is reached.

    Of softmax outputs the paper's saliency map is the square of the slope of the class's probability, for the slopes of
    the others add up to its negative. It ranks values as the slope of the log-odds log(p / (1 - p)) does, which is
    taken here since it doesn't vanish where the model is sure; times the room to the edge, it says what a change is
    worth. Values go to either edge, whichever helps. Without a target the odds of the true class go down.

    In the end every change is taken back, from the least useful on, where the goal stays reached without it.

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
        if not (isinstance(self.most, numbers.Real) and 0 < self.most <= 1):
            raise InputError(f"{self.name}: most={self.most!r} has to be a share of all values, above 0 and up to 1")

    def _solver(self, classifier: Classifier, kind: type[Criterion]) -> Solver:
        threat = dataclasses.replace(self.threat, epsilon=0.0)
        values = min(self.values, math.prod(classifier.input_shape))
        key = (type(self), threat, values, kind)
        compiled = classifier.compiled(key, lambda: _Compiled(threat, values, classifier, kind))
        steps = max(int(self.most * math.prod(classifier.input_shape)) // values, 1)

        def solve(search: SearchState, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            origin = search.origin[chosen]
            criterion = tf.nest.map_structure(lambda array: array[chosen], search.criterion)
            walk = Walk.begin(origin)
            left = np.arange(len(chosen))
            for first in range(0, steps, STRIDE):
                given = rows((walk, origin, criterion), left)
                write_rows(walk, left, compiled.advance(*given, tf.constant(min(STRIDE, steps - first))))
                left = left[~walk.over[left]]
                if not len(left):
                    break
            found, reached, queries = (
                t.numpy() for t in compiled.conclude(*rows((walk, origin, criterion), slice(None)))
            )
            search.gradients[chosen] += walk.looks
            search.zero_gradients[chosen] += walk.zero_gradients
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
        counts = tf.TensorSpec([None], tf.int32)
        walk, goals = Walk(images, images, verdicts, verdicts, counts, counts), kind(*[counts] * len(kind._fields))
        self.advance = traced(self._advance, walk, images, goals, tf.TensorSpec([], tf.int32))
        self.conclude = traced(self._conclude, walk, images, goals)

    def _advance(self, walk: Walk, origin: tf.Tensor, criterion: Criterion, steps: tf.Tensor) -> Walk:
        """Some steps on the images that are not over."""

        def body(walk: Walk) -> tuple[Walk]:
            going = ~walk.over
            seen = look(self.logits_fn, walk.x, criterion, _log_odds)
            gradient = tf.where(per_image(going, origin), seen.gradient, walk.gradient)
            succeeded = walk.succeeded | (going & seen.reached)
            edge = tf.where(gradient > 0, self.top, self.bottom)
            saliency = tf.where(walk.x == origin, gradient * (edge - origin), 0.0)
            chosen = self._largest(saliency)
            stuck = walk.stuck | ~(succeeded | tf.reduce_any(tf.reshape(chosen, [tf.shape(origin)[0], -1]), axis=1))
            x = tf.where(chosen & per_image(~(succeeded | stuck), origin), edge, walk.x)
            count = tf.cast(going, tf.int32)
            return (
                Walk(
                    x, gradient, succeeded, stuck, walk.looks + count, walk.zero_gradients + count * seen.zero_gradients
                ),
            )

        (walk,) = tf.while_loop(lambda walk: ~tf.reduce_all(walk.over), body, (walk,), maximum_iterations=steps)
        return walk

    def _largest(self, saliency: tf.Tensor) -> tf.Tensor:
        """Where the largest values above zero stand, as many as a step changes."""
        flat = tf.reshape(saliency, [tf.shape(saliency)[0], -1])
        largest, places = tf.math.top_k(flat, self.values)
        rows = tf.broadcast_to(tf.range(tf.shape(flat)[0])[:, None], tf.shape(places))
        above = tf.scatter_nd(tf.stack([rows, places], axis=-1), tf.cast(largest > 0, tf.int32), tf.shape(flat))
        return tf.reshape(above > 0, tf.shape(saliency))

    def _conclude(self, walk: Walk, origin: tf.Tensor, criterion: Criterion) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The images without the changes that they don't need, whether they reach the goal, and queries taken."""
        # The last step of a walk that isn't over has not been judged.
        succeeded = walk.succeeded | (~walk.stuck & self._reached(walk.x, criterion))
        change, shape = walk.x - origin, tf.shape(origin)
        changed = tf.reshape(change != 0, [shape[0], -1])
        worth = tf.where(changed, tf.reshape(walk.gradient * change, [shape[0], -1]), origin.dtype.max)
        order = tf.argsort(worth, axis=1, stable=True)
        # A single change can't be taken back: the clean image doesn't reach the goal.
        counts = tf.reduce_sum(tf.cast(changed, tf.int32), axis=1)
        counts = tf.where(succeeded & (counts > 1), counts, 0)

        def body(index: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            here = tf.one_hot(order[:, index], tf.shape(order)[1], on_value=True, off_value=False, dtype=tf.bool)
            without = tf.where(tf.reshape(here, shape), origin, x)
            spare = (index < counts) & self._reached(without, criterion)
            return index + 1, tf.where(per_image(spare, x), without, x)

        _, x = tf.while_loop(lambda index, _: index < tf.reduce_max(counts), body, (0, walk.x))
        return x, succeeded, tf.cast(~walk.over, tf.int32) + counts

    def _reached(self, x: tf.Tensor, criterion: Criterion) -> tf.Tensor:
        return criterion.reached(answers(self.logits_fn(x)))


def _log_odds(logits: tf.Tensor, criterion: Criterion) -> tf.Tensor:
    """log(p / (1 - p)) of a target, or the log-odds against the true class, `[batch]`."""
    untargeted = isinstance(criterion, Untargeted)
    classes = criterion.labels if untargeted else criterion.targets
    own = tf.one_hot(classes, tf.shape(logits)[-1], on_value=True, off_value=False, dtype=tf.bool)
    others = tf.reduce_logsumexp(tf.where(own, logits.dtype.min, logits), axis=-1)
    odds = tf.gather(logits, classes, batch_dims=1) - others
    return -odds if untargeted else odds
