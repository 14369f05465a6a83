"""L-BFGS attack: the shortest change that closes the margin, by a quasi-Newton method within the box."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import threadpoolctl
from scipy import optimize

from tfharden.attacks.core.best_iterate import nearness
from tfharden.attacks.core.compiled import rows, traced
from tfharden.attacks.core.criteria import Criterion, criterion_value, tensor_specs
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.core.value_and_gradient import value_and_gradient, value_less_rounding
from tfharden.attacks.minimum_norm.attack import MinimumNormAttack, Solver
from tfharden.attacks.minimum_norm.batched_scipy import Ask, run_batched
from tfharden.attacks.minimum_norm.constant_search import ConstantSearch, LinearEstimate
from tfharden.classifiers import Classifier
from tfharden.losses import margin
from tfharden.serialization import registered
from tfharden.threats import L2

# Images that are searched for at a time, each in a thread of its own; L-BFGS-B needs some 25 times the memory of each.
GROUP_SIZE = 64
# The kink of the hinge, which line searches stumble over, is rounded off over this share of the clean image's margin.
HINGE_ROUNDING = 3e-3
# A run ends where the objective falls by less than this share of what the clean image lacks.
FUNCTION_TOLERANCE = 1e-6


class Point(NamedTuple):
    """Value and gradient at one image.

    Attributes:
        image: as the classifier receives it.
        value: its margin for certain.
        gradient: of the margin by the values of the image in units of the box, flat.
        reached: whether it reaches the criterion for certain.
        score: as `nearness` scores it: the nearest that reaches the criterion is best, then the highest margin.
    """

    image: np.ndarray
    value: float
    gradient: np.ndarray
    reached: bool
    score: float

    @property
    def rank(self) -> tuple[bool, float]:
        """By which the best of several is found, as `BestIterate` does."""
        return self.reached, self.score


@registered
@dataclasses.dataclass(frozen=True)
class LBFGS(MinimumNormAttack):
    """min_x |x - x0|^2 + k loss(x) within the box by L-BFGS-B, for the least k that succeeds.

    Szegedy et al. 2014, arXiv:1312.6199. The loss is the hinge max(0, -margin(x)), rounded at its kink; the margin is
    max_{i != y} z_i - z_y, or z_t - max_{i != t} z_i for a target. The paper's cross entropy with a target goes on
    pulling beyond the boundary, so it ends farther away, and that with the label, turned round, falls without end.

    Each image has a run of its own, all runs of a batch share their forward and backward passes, and the nearest image
    that any of them looked at counts. Lengths are in units of the box.

    Args:
        threat: an L2 threat.
        steps: iterations of L-BFGS-B in a run, at most; its line searches mostly take one or two gradients each.
        search_steps: runs, each with another k; all start at the clean image.
    """

    threat: L2
    steps: int = 50
    search_steps: int = 6

    name = "l-bfgs"
    norms = ("L2",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("steps", "search_steps")

    def _solver(self, classifier: Classifier, kind: type[Criterion]) -> Solver:
        threat = self.threat.with_epsilon(0.0)
        evaluate = classifier.compiled((LBFGS, threat, kind), lambda: _compiled(threat, classifier, kind))

        def solve(search: SearchState, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            # Vectors of one image are too short for the threads of a linear algebra library to be worth their start.
            with threadpoolctl.threadpool_limits(1, "blas"):
                groups = [
                    self._group(evaluate, search, chosen[i : i + GROUP_SIZE]) for i in range(0, len(chosen), GROUP_SIZE)
                ]
            best = [point for group in groups for point in group]
            return np.stack([point.image for point in best]), np.array([point.reached for point in best])

        return solve

    def _group(self, evaluate: Callable[..., Any], search: SearchState, chosen: np.ndarray) -> list[Point]:
        """The nearest images of the examples `chosen`."""

        def answer(indices: list[int], points: list[np.ndarray]) -> list[Point]:
            asking = chosen[indices]
            changes = tf.constant(np.stack(points), tf.float32)
            given = rows((search.origin, search.criterion), asking)
            *fields, zero_gradients = (t.numpy() for t in evaluate(changes, *given))
            search.gradients[asking] += 1
            search.zero_gradients[asking] += zero_gradients
            return [Point(image, float(value), *rest) for image, value, *rest in zip(*fields, strict=True)]

        low, high = self.threat.bounds
        clean = (search.origin[chosen].reshape(len(chosen), -1).astype(np.float64) - low) / (high - low)
        return run_batched([_Run(self, point) for point in clean], answer)


class _Run:
    """The search for one image; `clean` is that image in units of the box, flat."""

    def __init__(self, attack: LBFGS, clean: np.ndarray) -> None:
        self.attack, self.clean = attack, clean

    def __call__(self, ask: Ask) -> Point:
        """The nearest image that reaches the criterion; while none does, the one that comes closest to it."""
        start = np.zeros_like(self.clean)
        best = clean = ask(start)
        shortfall = max(-clean.value, 0.0)
        guess = LinearEstimate(np.asarray(shortfall), np.sum(np.square(clean.gradient)))
        # SciPy's tolerances mean what they say where a change that does is about 1 long, and the loss falls by about 1.
        length = min(float(guess.length), np.sqrt(start.size)) if np.isfinite(guess.length) else 1.0
        loss = shortfall or 1.0
        constants = ConstantSearch(guess.constant * loss / length**2)
        room = optimize.Bounds(-self.clean / length, (1 - self.clean) / length)
        options = {"maxiter": self.attack.steps, "ftol": FUNCTION_TOLERANCE}
        for _ in range(self.attack.search_steps):
            if self.attack.early_exit and best.reached and -best.score <= self.attack.threat.epsilon:
                break
            objective = _Objective(ask, clean, length, loss, float(constants.values))
            optimize.minimize(objective, start, jac=True, method="L-BFGS-B", bounds=room, options=options)
            best = max(best, objective.best, key=lambda point: point.rank)
            constants.narrow(objective.lowest.reached)
        return best


@dataclasses.dataclass
class _Objective:
    """|d|^2 + k hinge(-margin / loss) of a change d * length, with its gradient; remembers the best and the lowest."""

    ask: Ask
    clean: Point
    length: float
    loss: float
    constant: float

    def __post_init__(self) -> None:
        self.best = self.lowest = self.clean
        self.lowest_value = np.inf

    def __call__(self, change: np.ndarray) -> tuple[float, np.ndarray]:
        point = self.ask(self.length * change) if change.any() else self.clean
        lack, rise = _hinge(-point.value / self.loss)
        objective = change @ change + self.constant * lack
        self.best = max(self.best, point, key=lambda point: point.rank)
        if objective < self.lowest_value:
            self.lowest, self.lowest_value = point, objective
        return objective, 2 * change - self.constant * rise * self.length / self.loss * point.gradient


def _hinge(lack: float) -> tuple[float, float]:
    """max(0, lack) and its slope; a parabola takes the place of the kink, just below zero."""
    inside = min(max(lack + HINGE_ROUNDING, 0.0), HINGE_ROUNDING)
    return inside * inside / (2 * HINGE_ROUNDING) + max(lack, 0.0), inside / HINGE_ROUNDING


def _compiled(threat: L2, classifier: Classifier, kind: type[Criterion]) -> Callable[..., Any]:
    """From changes, clean images and criteria to the fields of `Point`, and whether the gradient was zero."""
    (low, high), dimension = threat.bounds, int(np.prod(classifier.input_shape))

    def evaluate(change: tf.Tensor, origin: tf.Tensor, criterion: Criterion) -> tuple[tf.Tensor, ...]:
        x = tf.clip_by_value(origin + (high - low) * tf.reshape(change, tf.shape(origin)), low, high)
        # There is no ball to stay in, so the nearest value that the device receives will do.
        received = threat.round_to_lattice(x)
        seen = value_and_gradient(criterion_value(classifier.logits_fn, criterion, margin), received)
        value = value_less_rounding(seen, received)
        reached = seen.reached & (value >= 0)
        gradient = tf.cast((high - low) * tf.reshape(seen.slope, [-1, dimension]), tf.float64)
        score = nearness(reached, threat.distance(received, origin), value)
        return received, value, gradient, reached, score, seen.zero_gradients

    changes, images = tf.TensorSpec([None, dimension]), tf.TensorSpec([None, *classifier.input_shape])
    return traced(evaluate, changes, images, tensor_specs(kind))
