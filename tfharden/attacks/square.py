"""Square attack: random search without gradients."""

import dataclasses
import math

import numpy as np

from tfharden.attacks.base import Attack
from tfharden.attacks.search import Search
from tfharden.classifiers import Classifier, decide
from tfharden.configurable import registered
from tfharden.errors import InputError
from tfharden.threats import Linf

# Share of the pixels that a square covers, halved after these iterations out of 10,000 (Andriushchenko et al. 2020).
INITIAL_SHARE = 0.8
HALVINGS = np.array([10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000])


@registered
@dataclasses.dataclass(frozen=True)
class Square(Attack):
    """Random squares of -epsilon or +epsilon, kept unless the margin rises (Andriushchenko et al. 2020, Linf).

    Every candidate is a corner of the ball cut by box and lattice, so an integer model is attacked on exactly the
    values that it can receive. Squares reach every row and column, and one that would change nothing is turned over.

    Args:
        threat: an Linf threat.
        queries: forward passes an example, at most.
        seed: of the random search.
    """

    threat: Linf
    queries: int = 1000
    seed: int = 0

    name = "square"
    access = "score"
    norms = ("Linf",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("queries")

    def _search(self, classifier: Classifier, search: Search) -> None:
        if search.origin.ndim != 4:  # noqa: PLR2004
            raise InputError(f"square needs images [height, width, channels], not {search.origin.shape[1:]}")
        rng = search.generator(self.seed)
        lower, upper = self._corners(search.origin)
        shape = search.origin.shape
        # True where a pixel stands at the upper corner. The first guess is vertical stripes.
        high = np.broadcast_to(rng.random((len(search.origin), 1, *shape[2:])) < 0.5, shape).copy()  # noqa: PLR2004
        best = np.full(len(search.solved), np.inf)
        for query in range(self.queries):
            left = search.unsolved
            if not len(left):
                return
            candidate = high[left] if query == 0 else self._propose(rng, high[left], query)
            images = np.where(candidate, upper[left], lower[left])
            logits = classifier.logits(images)
            search.queries[left] += 1
            margins = _margins(logits, search.goal.labels[left])
            fell = decide(logits) != search.goal.labels[left]
            # Ties are taken: the margin of an integer model is a staircase, and only who moves on its steps gets down.
            better = (margins <= best[left]) | fell
            chosen = left[better]
            high[chosen], best[chosen], search.adversarial[chosen] = candidate[better], margins[better], images[better]
            search.solved[left] = fell
            search.report((query + 1) / self.queries)

    def _corners(self, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        threat = self.threat
        reach = (origin - threat.epsilon, origin + threat.epsilon)
        lower, upper = (np.asarray(threat.land(threat.project(corner, origin), origin)) for corner in reach)
        return lower, upper

    def _propose(self, rng: np.random.Generator, high: np.ndarray, query: int) -> np.ndarray:
        """Each image with one square of random signs (one for each channel) at a place of its own."""
        count, height, width, channels = high.shape
        side = self._side(query, height, width)
        top = rng.integers(0, height - side + 1, count)
        left = rng.integers(0, width - side + 1, count)
        rows, columns = np.arange(height) - top[:, None], np.arange(width) - left[:, None]
        inside = ((rows >= 0) & (rows < side))[:, :, None, None] & ((columns >= 0) & (columns < side))[:, None, :, None]
        signs = rng.random((count, 1, 1, channels)) < 0.5  # noqa: PLR2004
        idle = ~((high != signs) & inside).any(axis=(1, 2, 3), keepdims=True)
        return np.where(inside, signs ^ idle, high)

    def _side(self, query: int, height: int, width: int) -> int:
        """Side of the square in pixels at this query, on the paper's schedule stretched to the budget."""
        share = INITIAL_SHARE / 2 ** int(np.sum(query * 10_000 / self.queries > HALVINGS))
        return min(max(round(math.sqrt(share * height * width)), 1), height, width)


def _margins(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """z_y - max_{i != y} z_i."""
    rows = np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    return logits[rows, labels] - others.max(axis=-1)
