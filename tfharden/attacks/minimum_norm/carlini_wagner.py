"""Carlini and Wagner's attack: the shortest change that closes the margin, by Adam in a space without edges."""

import dataclasses
import math
import numbers
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.compiled import rows, traced, write_rows
from tfharden.attacks.core.criteria import Criterion
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.core.value_and_gradient import certain, look
from tfharden.attacks.gradient.ascent import per_image
from tfharden.attacks.minimum_norm.attack import MinimumNormAttack, Solver
from tfharden.attacks.minimum_norm.constant_search import ConstantSearch, LinearEstimate
from tfharden.classifiers import Classifier
from tfharden.errors import InputError
from tfharden.losses import margin
from tfharden.serialization import registered
from tfharden.threats import L2
from tfharden.threats.base import image_axes

# Images fill this share of the range of tanh. In the paper it is all but 1e-6, and there tanh is so flat that black
# and white values stay where they are for the first hundreds of steps.
SHARE = 0.9
# A step of Adam moves a value by this share of what a linear model would need, evenly spread, but by no more than MOST.
PACE, MOST = 1.0, 0.1
FORGET_MEAN, FORGET_SQUARE, TINY = 0.9, 0.999, 1e-12  # Adam's; TINY only keeps 0/0 away
# Looks at the objective in a round, steps between two of them at least, the share by which it has to fall from one to
# the next, and what follows where it doesn't: smaller steps, and an end at the third time.
LOOKS, SHORTEST, FALL, SLOWER, PATIENCE = 10, 20, 1e-4, 0.2, 3
# A hit that stands higher than the lowest point of its round by no more than this share is taken for the minimiser.
CLOSE = 0.02


class Descent(NamedTuple):
    """One round of Adam.

    Attributes:
        moved: how far w has come, `[batch, ...]`.
        mean: of the slopes, decaying.
        square: mean of their squares.
        lowest: the lowest objective, `[batch]`.
        lowest_hit: the lowest where the goal was reached.
    """

    moved: Any
    mean: Any
    square: Any
    lowest: Any
    lowest_hit: Any

    @classmethod
    def begin(cls, origin: np.ndarray) -> "Descent":
        """At the clean images."""
        still = [np.zeros_like(origin) for _ in range(3)]
        high = [np.full(len(origin), np.inf, np.float32) for _ in range(2)]
        return cls(*still, *high)

    @property
    def succeeded(self) -> Any:  # noqa: ANN401
        """Whether the minimiser reaches the goal; what an iterate hit in passing tells nothing about k, `[batch]`."""
        return self.lowest_hit <= (1 + CLOSE) * self.lowest


class Nearest(NamedTuple):
    """The nearest images so far that reach the goal; while none does, those that come closest to it.

    Attributes:
        x: images, `[batch, ...]`.
        distance: their distance; infinite where the goal was never reached, `[batch]`.
        value: their margin, `[batch]`.
        zero_gradients: number of gradients that were zero or not finite over the whole image, `[batch]`.
    """

    x: Any
    distance: Any
    value: Any
    zero_gradients: Any

    @classmethod
    def none(cls, origin: np.ndarray) -> "Nearest":
        """Nothing has been seen."""
        far = np.full(len(origin), np.inf, np.float32)
        return cls(origin.copy(), far, -far, np.zeros(len(origin), np.int32))

    def after(
        self, x: tf.Tensor, distance: tf.Tensor, value: tf.Tensor, hit: tf.Tensor, zero_gradients: tf.Tensor
    ) -> "Nearest":
        """What is known once the images `x` have been seen."""
        nearer = hit & (distance < self.distance)
        better = nearer | (~hit & tf.math.is_inf(self.distance) & (value > self.value))
        return Nearest(
            tf.where(per_image(better, x), x, self.x),
            tf.where(nearer, distance, self.distance),
            tf.where(better, value, self.value),
            self.zero_gradients + zero_gradients,
        )


@registered
@dataclasses.dataclass(frozen=True)
class CarliniWagner(MinimumNormAttack):
    """Carlini and Wagner 2017, L2: min_w |x - x0|^2 + k max(confidence - margin(x), 0), with x a tanh of w.

    The margin is max_{i != y} z_i - z_y, or z_t - max_{i != t} z_i for a target (f_6 of the paper with its sign
    turned). Lengths are in units of the box, so k and the learning rate mean the same in every input range. Each round
    has another k, found by bisection, and starts at the clean image; the nearest image of all rounds and steps counts.

    Beyond the paper, so that 200 steps a round come as near as thousands: images don't fill the range of tanh, the
    first k and the learning rate follow from the slope at the clean image, and an image whose objective has stopped to
    fall takes smaller steps before it is left alone.

    Args:
        threat: an L2 threat.
        steps: of Adam in a round, at most.
        search_steps: rounds.
        learning_rate: of Adam, in w, whose box is about 3 wide; by default for each image what suits its distance.
        initial_constant: the first k; by default for each image what suits the slope of its margin.
        confidence: the margin that an adversarial example has to have.
    """

    threat: L2
    steps: int = 200
    search_steps: int = 5
    learning_rate: float | None = None
    initial_constant: float | None = None
    confidence: float = 0.0

    name = "cw"
    norms = ("L2",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("steps", "search_steps")
        for name in ("learning_rate", "initial_constant"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, numbers.Real) and math.isfinite(value) and value > 0):
                raise InputError(f"{self.name}: {name}={value!r} has to be a number > 0, or None")
        confidence = self.confidence
        if not (isinstance(confidence, numbers.Real) and math.isfinite(confidence) and confidence >= 0):
            raise InputError(f"{self.name}: confidence={confidence!r} has to be a number >= 0")

    def _solver(self, classifier: Classifier, kind: type[Criterion]) -> Solver:
        threat = dataclasses.replace(self.threat, epsilon=0.0)
        key = (type(self), threat, self.confidence, kind)
        compiled = classifier.compiled(key, lambda: _Compiled(threat, self.confidence, classifier, kind))

        def solve(search: SearchState, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            origin = search.origin[chosen]
            criterion = tf.nest.map_structure(lambda array: array[chosen], search.criterion)
            *guess, zero_gradients = (
                tensor.numpy() for tensor in compiled.guess(*rows((origin, criterion), slice(None)))
            )
            search.gradients[chosen] += 1
            rate, constant = self._scales(LinearEstimate(*guess), origin[0].size)
            trade_off, best = ConstantSearch(constant), Nearest.none(origin)
            for _ in range(self.search_steps):
                left = np.flatnonzero(~(self.early_exit & (best.distance <= self.threat.epsilon)))
                scales = rate.astype(np.float32), trade_off.constants.astype(np.float32)
                succeeded, steps = self._descend(compiled, origin, criterion, scales, best, left)
                search.gradients[chosen] += steps
                trade_off.narrow(succeeded)
            search.zero_gradients[chosen] += zero_gradients + best.zero_gradients
            return best.x, np.isfinite(best.distance)

        return solve

    def _scales(self, guess: LinearEstimate, dimension: int) -> tuple[np.ndarray, np.ndarray]:
        """Learning rate and first constant of each image."""
        rate, constant = np.minimum(PACE * guess.length / np.sqrt(dimension), MOST), guess.constant
        rate = rate if self.learning_rate is None else np.full_like(rate, self.learning_rate)
        return rate, constant if self.initial_constant is None else np.full_like(constant, self.initial_constant)

    def _descend(
        self,
        compiled: "_Compiled",
        origin: np.ndarray,
        criterion: Criterion,
        scales: tuple[np.ndarray, np.ndarray],
        best: Nearest,
        left: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """One round on the examples `left`: whether it succeeded, and steps taken, `[n]`. Improves `best` in place."""
        state, (rate, constants) = Descent.begin(origin), scales
        lowest, stalls = state.lowest.copy(), np.zeros(len(origin), int)
        taken, period = np.zeros(len(origin), np.int64), max(-(-self.steps // LOOKS), SHORTEST)
        for first in range(0, self.steps, period):
            if not len(left):
                break
            steps = min(period, self.steps - first)
            given = rows((state, best, origin, criterion, rate, constants), left)
            write_rows((state, best), left, compiled.advance(*given, tf.constant(first), tf.constant(steps)))
            taken[left] += steps
            stalled = left[~(state.lowest[left] < (1 - FALL) * lowest[left])]
            rate[stalled] *= SLOWER
            stalls[stalled] += 1
            lowest[left] = state.lowest[left]
            left = left[stalls[left] < PATIENCE]
        return state.succeeded, taken


class _Compiled:
    """The compiled parts of the attack on one classifier; the batch axis is free, so each is traced once."""

    def __init__(self, threat: L2, confidence: float, classifier: Classifier, kind: type[Criterion]) -> None:
        self.threat, self.confidence, self.logits_fn = threat, confidence, classifier.logits_fn
        self.low, self.high = threat.bounds
        self.span = self.high - self.low
        images, numbers = tf.TensorSpec([None, *classifier.input_shape], tf.float32), tf.TensorSpec([None], tf.float32)
        counts, whole = tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)
        goals = kind(*[counts] * len(kind._fields))
        state, best = Descent(images, images, images, numbers, numbers), Nearest(images, numbers, numbers, counts)
        self.guess = traced(self._guess, images, goals)
        self.advance = traced(self._advance, state, best, images, goals, numbers, numbers, whole, whole)

    def _guess(self, origin: tf.Tensor, criterion: Criterion) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What a `LinearEstimate` is made of, and whether the gradient was zero."""
        seen = look(self.logits_fn, origin, criterion, _margin)
        squared_slope = tf.reduce_sum(tf.square(self.span * seen.gradient), axis=image_axes(origin))
        return self.confidence - seen.values, squared_slope, seen.zero_gradients

    def _advance(
        self,
        state: Descent,
        best: Nearest,
        origin: tf.Tensor,
        criterion: Criterion,
        rate: tf.Tensor,
        constants: tf.Tensor,
        first: tf.Tensor,
        steps: tf.Tensor,
    ) -> tuple[Descent, Nearest]:
        """Some steps of a round in which `first` have been taken."""
        anchor = tf.atanh(SHARE * (2 * (origin - self.low) / self.span - 1))
        start, edge, rate = tf.tanh(anchor), float(np.arctanh(SHARE)), per_image(rate, origin)

        def body(index: tf.Tensor, state: Descent, best: Nearest) -> tuple[tf.Tensor, Descent, Nearest]:
            bent = tf.tanh(anchor + state.moved)
            # The difference of two values of tanh is exactly zero where nothing moved.
            x = tf.clip_by_value(origin + self.span / (2 * SHARE) * (bent - start), self.low, self.high)
            # There is no ball to stay in, so the nearest value that the device receives will do.
            received = self.threat.round_to_lattice(x)
            seen = look(self.logits_fn, received, criterion, _margin)
            value = certain(seen, received)
            # On a tie nothing is lacking and the goal may still not be reached: the loss has to go on.
            short = ~seen.reached | (value < self.confidence)
            best = best.after(received, self.threat.distance(received, origin), value, ~short, seen.zero_gradients)
            change = (x - origin) / self.span
            lack = tf.where(short, tf.maximum(self.confidence - value, 0.0), 0.0)
            objective = tf.reduce_sum(tf.square(change), axis=image_axes(x)) + constants * lack
            pull = per_image(tf.where(short, constants * self.span, 0.0), x) * seen.gradient
            slope = (2 * change - pull) * (1 - tf.square(bent)) / (2 * SHARE)
            step, mean, square = _adam(slope, state, tf.cast(index + 1, tf.float32))
            moved = tf.clip_by_value(anchor + state.moved - rate * step, -edge, edge) - anchor
            lowest = tf.minimum(state.lowest, objective)
            lowest_hit = tf.minimum(state.lowest_hit, tf.where(short, np.inf, objective))
            return index + 1, Descent(moved, mean, square, lowest, lowest_hit), best

        _, state, best = tf.while_loop(lambda *_: True, body, (first, state, best), maximum_iterations=steps)
        return state, best


def _margin(logits: tf.Tensor, criterion: Criterion) -> tf.Tensor:
    return criterion.values(margin, logits)


def _adam(slope: tf.Tensor, state: Descent, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The direction of Adam's step number `count` (Kingma and Ba 2015), and its two means."""
    mean = FORGET_MEAN * state.mean + (1 - FORGET_MEAN) * slope
    square = FORGET_SQUARE * state.square + (1 - FORGET_SQUARE) * tf.square(slope)
    step = mean / (1 - FORGET_MEAN**count) / (tf.sqrt(square / (1 - FORGET_SQUARE**count)) + TINY)
    return step, mean, square
