"""The L-BFGS attack: the shortest change that closes the margin, by a quasi-Newton method within the box."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import threadpoolctl
from scipy import optimize

from tfharden.attacks.core.compiled import rows, traced
from tfharden.attacks.core.criteria import Criterion
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.core.value_and_gradient import certain, look
from tfharden.attacks.minimum_norm.attack import MinimumNormAttack, Solver
from tfharden.attacks.minimum_norm.batched_scipy import Ask, run_batched
from tfharden.attacks.minimum_norm.constant_search import ConstantSearch, LinearEstimate
from tfharden.classifiers import Classifier
from tfharden.losses import margin
from tfharden.serialization import registered
from tfharden.threats import L2

# Images that are searched for at a time, each in a thread of its own; L-BFGS-B needs some 25 times the memory of each.
GROUP = 64
# The kink of the hinge, which line searches stumble over, is rounded off over this share of the clean image's margin.
ROUNDING = 3e-3
# A run ends where the objective falls by less than this share of what the clean image lacks.
FALL = 1e-6


class Seen(NamedTuple):
    """What one image was seen to be.

    Attributes:
        image: as the classifier receives it.
        value: its margin for certain.
        gradient: of the margin by the values of the image in units of the box, flat.
        reached: whether it reaches the goal for certain.
        distance: from the clean image.
    """

    image: np.ndarray
    value: float
    gradient: np.ndarray
    reached: bool
    distance: float

    @property
    def rank(self) -> tuple[bool, float]:
        """The nearest image that reaches the goal ranks highest, then the highest of the others."""
        return self.reached, -self.distance if self.reached else self.value


@registered
@dataclasses.dataclass(frozen=True)
class LBFGS(MinimumNormAttack):
    """Szegedy et al. 2014: min_x |x - x0|^2 + k loss(x) within the box by L-BFGS-B, for the least k that succeeds.

    The loss is the hinge max(0, -margin(x)), rounded at its kink; the margin is max_{i != y} z_i - z_y, or
    z_t - max_{i != t} z_i for a target. The paper's cross entropy with a target goes on pulling beyond the boundary,
    so it ends farther away, and that with the label, turned round, falls without end.

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
        threat = dataclasses.replace(self.threat, epsilon=0.0)
        see = classifier.compiled((type(self), threat, kind), lambda: _see(threat, classifier, kind))

        def solve(search: SearchState, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            # Vectors of one image are too short for the threads of a linear algebra library to be worth their start.
            with threadpoolctl.threadpool_limits(1, "blas"):
                groups = [self._group(see, search, chosen[i : i + GROUP]) for i in range(0, len(chosen), GROUP)]
            best = [seen for group in groups for seen in group]
            return np.stack([seen.image for seen in best]), np.array([seen.reached for seen in best])

        return solve

    def _group(self, see: Callable[..., Any], search: SearchState, chosen: np.ndarray) -> list[Seen]:
        """The nearest images of the examples `chosen`."""

        def answer(indices: list[int], points: list[np.ndarray]) -> list[Seen]:
            asking = chosen[indices]
            changes = tf.constant(np.stack(points), tf.float32)
            *seen, zero_gradients = (t.numpy() for t in see(changes, *rows((search.origin, search.criterion), asking)))
            search.gradients[asking] += 1
            search.zero_gradients[asking] += zero_gradients
            return [Seen(image, float(value), *rest) for image, value, *rest in zip(*seen, strict=True)]

        low, high = self.threat.bounds
        clean = (search.origin[chosen].reshape(len(chosen), -1).astype(np.float64) - low) / (high - low)
        return run_batched([_Run(self, point) for point in clean], answer)


class _Run:
    """The search for one image; `clean` is that image in units of the box, flat."""

    def __init__(self, attack: LBFGS, clean: np.ndarray) -> None:
        self.attack, self.clean = attack, clean

    def __call__(self, ask: Ask) -> Seen:
        """The nearest image that reaches the goal; while none does, the one that comes closest to it."""
        start = np.zeros_like(self.clean)
        best = clean = ask(start)
        shortfall = max(-clean.value, 0.0)
        guess = LinearEstimate(np.float64(shortfall), np.sum(np.square(clean.gradient)))
        # SciPy's tolerances mean what they say where a change that does is about 1 long, and the loss falls by about 1.
        length = min(float(guess.length), np.sqrt(start.size)) if np.isfinite(guess.length) else 1.0
        loss = shortfall or 1.0
        trade_off = ConstantSearch(guess.constant * loss / length**2)
        room = optimize.Bounds(-self.clean / length, (1 - self.clean) / length)
        options = {"maxiter": self.attack.steps, "ftol": FALL}
        for _ in range(self.attack.search_steps):
            if self.attack.early_exit and best.reached and best.distance <= self.attack.threat.epsilon:
                break
            objective = _Objective(ask, clean, length, loss, float(trade_off.constants))
            optimize.minimize(objective, start, jac=True, method="L-BFGS-B", bounds=room, options=options)
            best = max(best, objective.best, key=lambda seen: seen.rank)
            trade_off.narrow(objective.lowest.reached)
        return best


@dataclasses.dataclass
class _Objective:
    """|d|^2 + k hinge(-margin / loss) of a change d * length, with its gradient; remembers the best and the lowest."""

    ask: Ask
    clean: Seen
    length: float
    loss: float
    constant: float

    def __post_init__(self) -> None:
        self.best = self.lowest = self.clean
        self.least = np.inf

    def __call__(self, change: np.ndarray) -> tuple[float, np.ndarray]:
        seen = self.ask(self.length * change) if change.any() else self.clean
        lack, rise = _hinge(-seen.value / self.loss)
        objective = change @ change + self.constant * lack
        self.best = max(self.best, seen, key=lambda seen: seen.rank)
        if objective < self.least:
            self.lowest, self.least = seen, objective
        return objective, 2 * change - self.constant * rise * self.length / self.loss * seen.gradient


def _hinge(lack: float) -> tuple[float, float]:
    """max(0, lack) and its slope; a parabola takes the place of the kink, just below zero."""
    inside = min(max(lack + ROUNDING, 0.0), ROUNDING)
    return inside * inside / (2 * ROUNDING) + max(lack, 0.0), inside / ROUNDING


def _see(threat: L2, classifier: Classifier, kind: type[Criterion]) -> Callable[..., Any]:
    """A function from changes, clean images and goals to the fields of `Seen`, and whether the gradient was zero."""
    (low, high), dimension = threat.bounds, int(np.prod(classifier.input_shape))

    def see(change: tf.Tensor, origin: tf.Tensor, criterion: Criterion) -> tuple[tf.Tensor, ...]:
        x = tf.clip_by_value(origin + (high - low) * tf.reshape(change, tf.shape(origin)), low, high)
        # There is no ball to stay in, so the nearest value that the device receives will do.
        received = threat.round_to_lattice(x)
        seen = look(
            classifier.logits_fn, received, criterion, lambda logits, criterion: criterion.values(margin, logits)
        )
        value = certain(seen, received)
        reached = seen.reached & (value >= 0)
        gradient = tf.cast((high - low) * tf.reshape(seen.gradient, [-1, dimension]), tf.float64)
        return received, value, gradient, reached, threat.distance(received, origin), seen.zero_gradients

    images, counts = tf.TensorSpec([None, *classifier.input_shape], tf.float32), tf.TensorSpec([None], tf.int32)
    return traced(see, tf.TensorSpec([None, dimension], tf.float32), images, kind(*[counts] * len(kind._fields)))
