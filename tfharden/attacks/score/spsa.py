"""SPSA: descent along gradients that are estimated from scores alone."""

import dataclasses

import numpy as np

from tfharden.attacks.core.attack import Attack
from tfharden.attacks.core.criteria import Criterion, subset
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.score.margins import remaining_margins
from tfharden.classifiers import Classifier, images_per_call
from tfharden.errors import InputError
from tfharden.serialization import registered
from tfharden.threats import Threat

# Share of the last direction that is kept, and the first step as a share of epsilon; steps shrink linearly to 0.
MOMENTUM, FIRST_STEP = 0.75, 0.5


@registered
@dataclasses.dataclass(frozen=True)
class SPSA(Attack):
    """Steepest descent of the margin m by simultaneous perturbation (Spall 1992; Uesato et al. 2018, arXiv:1802.05666).

    The direction is, with momentum, the estimated gradient

        g = mean over pairs of (m(x + delta u) - m(x - delta u)) / (2 delta) * u,   u random signs,

    which sees through gradients that are shattered on a scale finer than delta.

    Args:
        threat: ball and box.
        queries: forward passes an example, at most: one step takes 2 `pairs` + 1.
        pairs: random directions a step.
        delta: length of the probes in each value, as a share of the box; a step of the lattice at least.
        seed: of the directions.
    """

    threat: Threat
    queries: int = 5000
    _: dataclasses.KW_ONLY
    pairs: int = 32
    delta: float = 0.01
    seed: int = 0

    name = "spsa"
    access = "score"
    kind = "score"
    norms = ("Linf", "L2")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("queries", "pairs")
        self._check_number("delta", above=0, most=1)
        if self.queries <= 2 * self.pairs:
            raise InputError(
                f"{self.name}: queries={self.queries} are too few for a step of pairs={self.pairs}: "
                f"give {2 * self.pairs + 1} or more, or fewer pairs"
            )

    def _search(self, classifier: Classifier, search: SearchState) -> None:
        threat, rng, steps = self.threat, search.generator(self.seed), self.queries // (2 * self.pairs + 1)
        left = search.unsolved
        origin, criterion = search.origin[left], subset(search.criterion, left)
        x, slope, best = origin.copy(), np.zeros_like(origin), np.full(len(left), np.inf, np.float32)
        for step in range(steps):
            if not len(left):
                return
            found = self._slope(classifier, np.asarray(threat.round_to_lattice(x)), criterion, rng)
            slope = MOMENTUM * slope + (1 - MOMENTUM) * found
            length = FIRST_STEP * threat.epsilon * (1 - step / steps)
            x = np.asarray(threat.project(threat.step(x, -slope, length), origin))
            received = np.asarray(threat.round_to_lattice_in_ball(x, origin))
            margins, succeeded = remaining_margins(classifier.logits(received), criterion)
            search.queries[left] += 2 * self.pairs + 1
            better = succeeded | (margins <= best)
            search.adversarial[left[better]] = received[better]
            best = np.minimum(best, margins)
            search.solved[left] = succeeded
            left, criterion = left[~succeeded], subset(criterion, ~succeeded)
            origin, x, slope, best = (array[~succeeded] for array in (origin, x, slope, best))
            search.report((step + 1) / steps)

    def _slope(
        self, classifier: Classifier, x: np.ndarray, criterion: Criterion, rng: np.random.Generator
    ) -> np.ndarray:
        """The margin's estimated gradient at images `x`, up to a factor."""
        low, high = self.threat.bounds
        length = max(self.delta * (high - low), self.threat.lattice or 0.0)
        slopes = np.zeros(x.shape, np.float32)
        most = max(1, images_per_call(x[0].size) // (2 * self.pairs))
        for first in range(0, len(x), most):
            rows = np.arange(first, min(first + most, len(x)))
            signs = rng.choice(np.array([-1, 1], np.float32), (self.pairs, len(rows), *x.shape[1:]))
            probes = np.clip(np.stack([x[rows] + length * signs, x[rows] - length * signs]), low, high)
            probes = np.asarray(self.threat.round_to_lattice(probes))
            criteria = subset(criterion, np.tile(rows, 2 * self.pairs))
            margins, _ = remaining_margins(classifier.logits(probes.reshape(-1, *x.shape[1:])), criteria)
            with np.errstate(invalid="ignore"):
                rise = np.subtract(*margins.reshape(2, self.pairs, len(rows)))
            rise = np.where(np.isfinite(rise), rise, 0.0)
            # What arrived, not what was sent: box and lattice have changed it.
            slopes[rows] = np.einsum("pn,pn...->n...", rise, probes[0] - probes[1])
        return slopes
