"""Carlini and Wagner's attack: the shortest change that closes the margin, by Adam in a space without edges."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.best_iterate import BestIterate, nearness
from tfharden.attacks.core.compiled import rows, traced, write_rows
from tfharden.attacks.core.criteria import Criterion, criterion_value, subset, tensor_specs
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.core.value_and_gradient import value_and_gradient, value_less_rounding
from tfharden.attacks.minimum_norm.attack import MinimumNormAttack, Solver
from tfharden.attacks.minimum_norm.constant_search import ConstantSearch, LinearEstimate
from tfharden.classifiers import Classifier
from tfharden.losses import margin
from tfharden.serialization import registered
from tfharden.threats import L2
from tfharden.threats.base import image_axes, per_image

# Images fill this share of the range of tanh. In the paper it is all but 1e-6, and there tanh is so flat that black
# and white values stay where they are for the first hundreds of steps.
TANH_SHARE = 0.9
# A step of Adam moves a value by what a linear model would need, evenly spread, but by no more than this.
LARGEST_RATE = 0.1
MEAN_DECAY, SQUARE_DECAY, ADAM_EPSILON = 0.9, 0.999, 1e-12  # Adam's; the last only keeps 0/0 away
# How often a round looks at the objective, and the steps between two looks at least.
LOOKS_PER_ROUND, FEWEST_STEPS_PER_LOOK = 10, 20
# The share by which the objective has to fall from one look to the next. Where it doesn't the rate is multiplied by
# the second number, and so often it may happen before the round ends.
LEAST_FALL, RATE_DECREASE, PATIENCE = 1e-4, 0.2, 3
# A success that stands higher than the lowest point of its round by no more than this share is taken for the minimiser.
MINIMISER_TOLERANCE = 0.02


class Descent(NamedTuple):
    """One round of Adam.

    Attributes:
        moved: how far w has come, `[batch, ...]`.
        mean: of the slopes, decaying.
        square: mean of their squares.
        lowest: the lowest objective, `[batch]`.
        lowest_hit: the lowest where the criterion was reached.
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
        """Whether the minimiser reaches the criterion; an iterate that hit in passing tells nothing of k."""
        return self.lowest_hit <= (1 + MINIMISER_TOLERANCE) * self.lowest


@registered
@dataclasses.dataclass(frozen=True)
class CarliniWagner(MinimumNormAttack):
    """Carlini and Wagner's L2 attack: min_w |x - x0|^2 + k max(confidence - margin(x), 0), with x a tanh of w.

    Carlini and Wagner 2017, arXiv:1608.04644.
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
            self._check_number(name, above=0, optional=True)
        self._check_number("confidence", least=0)

    def _solver(self, classifier: Classifier, kind: type[Criterion]) -> Solver:
        threat = self.threat.with_epsilon(0.0)
        compiled = classifier.compiled((CarliniWagner, threat, kind), lambda: _Compiled(threat, classifier, kind))

        def solve(search: SearchState, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            origin = search.origin[chosen]
            criterion = subset(search.criterion, chosen)
            margins, *guess, zero_gradients = (
                tensor.numpy() for tensor in compiled.guess(*rows((origin, criterion), slice(None)))
            )
            guess = [np.float32(self.confidence) - margins, *guess]
            search.gradients[chosen] += 1
            zero_gradients = zero_gradients.astype(search.zero_gradients.dtype)
            rate, constant = self._scales(LinearEstimate(*guess), origin[0].size)
            constants, best = ConstantSearch(constant), _none(origin)
            for _ in range(self.search_steps):
                near = best.reached & (-best.score <= self.threat.epsilon)
                left = np.flatnonzero(~(self.early_exit & near))
                scales = rate.astype(np.float32), constants.values.astype(np.float32)
                succeeded, steps = self._descend(compiled, origin, criterion, scales, best, zero_gradients, left)
                search.gradients[chosen] += steps
                constants.narrow(succeeded)
            search.zero_gradients[chosen] += zero_gradients
            return best.x, best.reached

        return solve

    def _scales(self, guess: LinearEstimate, dimension: int) -> tuple[np.ndarray, np.ndarray]:
        """Learning rate and first constant of each image."""
        rate, constant = np.minimum(guess.length / np.sqrt(dimension), LARGEST_RATE), guess.constant
        rate = rate if self.learning_rate is None else np.full_like(rate, self.learning_rate)
        return rate, constant if self.initial_constant is None else np.full_like(constant, self.initial_constant)

    def _descend(
        self,
        compiled: "_Compiled",
        origin: np.ndarray,
        criterion: Criterion,
        scales: tuple[np.ndarray, np.ndarray],
        best: BestIterate,
        zero_gradients: np.ndarray,
        left: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """One round on the examples `left`: whether it succeeded, and steps taken, `[n]`.

        Improves `best` and counts `zero_gradients` in place.
        """
        state, (rate, constants) = Descent.begin(origin), scales
        lowest, stalls = state.lowest.copy(), np.zeros(len(origin), int)
        taken, period = np.zeros(len(origin), np.int64), max(-(-self.steps // LOOKS_PER_ROUND), FEWEST_STEPS_PER_LOOK)
        for first in range(0, self.steps, period):
            if not len(left):
                break
            steps = min(period, self.steps - first)
            given = rows((state, best, origin, criterion, rate, constants), left)
            numbers = tf.constant(self.confidence, tf.float32), tf.constant(first), tf.constant(steps)
            *advanced, zeros = compiled.advance(*given, *numbers)
            write_rows([state, best], left, advanced)
            zero_gradients[left] += zeros.numpy()
            taken[left] += steps
            stalled = left[~(state.lowest[left] < (1 - LEAST_FALL) * lowest[left])]
            rate[stalled] *= RATE_DECREASE
            stalls[stalled] += 1
            lowest[left] = state.lowest[left]
            left = left[stalls[left] < PATIENCE]
        return state.succeeded, taken


class _Compiled:
    """The compiled parts of the attack on one classifier; the batch axis is free, so each is traced once."""

    def __init__(self, threat: L2, classifier: Classifier, kind: type[Criterion]) -> None:
        self.threat, self.logits_fn = threat, classifier.logits_fn
        self.low, self.high = threat.bounds
        self.span = self.high - self.low
        images, numbers = tf.TensorSpec([None, *classifier.input_shape], tf.float32), tf.TensorSpec([None], tf.float32)
        number, whole = tf.TensorSpec([], tf.float32), tf.TensorSpec([], tf.int32)
        state, best, criteria = (
            Descent(images, images, images, numbers, numbers),
            BestIterate.specs(images),
            tensor_specs(kind),
        )
        self.guess = traced(self._guess, images, criteria)
        self.advance = traced(self._advance, state, best, images, criteria, numbers, numbers, number, whole, whole)

    def _guess(self, origin: tf.Tensor, criterion: Criterion) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The margin, the squared length of its slope in units of the box, and whether the gradient was zero."""
        seen = value_and_gradient(criterion_value(self.logits_fn, criterion, margin), origin)
        squared_slope = tf.reduce_sum(tf.square(self.span * seen.slope), axis=image_axes(origin))
        return seen.values, squared_slope, seen.zero_gradients

    def _advance(
        self,
        state: Descent,
        best: BestIterate,
        origin: tf.Tensor,
        criterion: Criterion,
        rate: tf.Tensor,
        constants: tf.Tensor,
        confidence: tf.Tensor,
        first: tf.Tensor,
        steps: tf.Tensor,
    ) -> tuple[Descent, BestIterate, tf.Tensor]:
        """Some steps of a round in which `first` have been taken."""
        value_fn = criterion_value(self.logits_fn, criterion, margin)
        anchor = tf.atanh(TANH_SHARE * (2 * (origin - self.low) / self.span - 1))
        start, edge, rate = tf.tanh(anchor), float(np.arctanh(TANH_SHARE)), per_image(rate, origin)

        def body(
            index: tf.Tensor, state: Descent, best: BestIterate, zero_gradients: tf.Tensor
        ) -> tuple[tf.Tensor, Descent, BestIterate, tf.Tensor]:
            bent = tf.tanh(anchor + state.moved)
            # The difference of two values of tanh is exactly zero where nothing moved.
            x = tf.clip_by_value(origin + self.span / (2 * TANH_SHARE) * (bent - start), self.low, self.high)
            # There is no ball to stay in, so the nearest value that the device receives will do.
            received = self.threat.round_to_lattice(x)
            seen = value_and_gradient(value_fn, received)
            value = value_less_rounding(seen, received)
            # On a tie nothing is lacking and the criterion may still not be reached: the loss has to go on.
            short = ~seen.reached | (value < confidence)
            best = best.update(received, nearness(~short, self.threat.distance(received, origin), value), ~short)
            change = (x - origin) / self.span
            lack = tf.where(short, tf.maximum(confidence - value, 0.0), 0.0)
            objective = tf.reduce_sum(tf.square(change), axis=image_axes(x)) + constants * lack
            pull = per_image(tf.where(short, constants * self.span, 0.0), x) * seen.slope
            slope = (2 * change - pull) * (1 - tf.square(bent)) / (2 * TANH_SHARE)
            step, mean, square = _adam(slope, state, tf.cast(index + 1, tf.float32))
            moved = tf.clip_by_value(anchor + state.moved - rate * step, -edge, edge) - anchor
            lowest = tf.minimum(state.lowest, objective)
            lowest_hit = tf.minimum(state.lowest_hit, tf.where(short, np.inf, objective))
            state = Descent(moved, mean, square, lowest, lowest_hit)
            return index + 1, state, best, zero_gradients + seen.zero_gradients

        variables = first, state, best, tf.zeros(tf.shape(origin)[:1], tf.int32)
        _, *reached = tf.while_loop(lambda *_: True, body, variables, maximum_iterations=steps)
        return tuple(reached)


def _none(origin: np.ndarray) -> BestIterate:
    """Nothing has been seen yet, in arrays."""
    count = len(origin)
    return BestIterate(origin.copy(), np.full(count, -np.inf, np.float32), np.zeros(count, bool))


def _adam(slope: tf.Tensor, state: Descent, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The direction of Adam's step number `count` (Kingma and Ba 2015, arXiv:1412.6980), and its two means."""
    mean = MEAN_DECAY * state.mean + (1 - MEAN_DECAY) * slope
    square = SQUARE_DECAY * state.square + (1 - SQUARE_DECAY) * tf.square(slope)
    step = mean / (1 - MEAN_DECAY**count) / (tf.sqrt(square / (1 - SQUARE_DECAY**count)) + ADAM_EPSILON)
    return step, mean, square
