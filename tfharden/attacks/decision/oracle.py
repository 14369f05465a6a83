"""Oracle of decision-based attacks: yes or no to an image, bisection to the decision boundary, and starts."""

import numpy as np

from tfharden.attacks.core.criteria import subset
from tfharden.attacks.core.search_state import SearchState
from tfharden.classifiers import Classifier
from tfharden.threats import Threat

# Images that are tried as starts of each example: clean ones of other examples, the nearest first, then random ones;
# and random ones where none of these will do. The first may take up this share of the budget.
STARTS, MOST_STARTS, START_BUDGET_SHARE = 30, 100, 0.25
# What float32 keeps apart, as a share of the largest value, where no lattice is coarser.
ROUNDING = 2.0**-20


class Oracle:
    """Says which images reach the criteria of their examples, counts what it costs, and keeps the nearest found.

    Args:
        classifier: only its decisions are used.
        threat: its lattice is what is asked on, its norm measures distances.
        search: the search whose queries are counted.
        chosen: indices of the examples in it; here they are numbered from 0.
        budget: queries an example, at most.
        enough: distance within which an example is left alone.

    Attributes:
        threat: as given.
        origin: clean images, `[n, ...]`.
        nearest: the nearest image seen that reaches the criterion, `[n, ...]`; the clean image while there is none.
        distance: how far that is, infinite while there is none, `[n]`.
        budget: as given.
        left: queries that may still be asked, `[n]`.
    """

    def __init__(
        self,
        classifier: Classifier,
        threat: Threat,
        search: SearchState,
        chosen: np.ndarray,
        budget: int,
        enough: float,
    ) -> None:
        self.threat, self.budget = threat, budget
        self.origin = search.origin[chosen]
        self.nearest = self.origin.copy()
        self.distance = np.full(len(chosen), np.inf, np.float32)
        self.left = np.full(len(chosen), budget)
        self._predict, self._criterion = classifier.predict, subset(search.criterion, chosen)
        self._queries, self._chosen, self._enough = search.queries, chosen, enough

    @property
    def grain(self) -> float:
        """The smallest change of a value that arrives."""
        return self.threat.lattice or ROUNDING * max(map(abs, self.threat.bounds))

    @property
    def working(self) -> np.ndarray:
        """Which examples have queries left and a reason to spend them, `[n]`."""
        return (self.left > 0) & (self.distance > self._enough)

    def away(self, rows: np.ndarray, images: np.ndarray) -> np.ndarray:
        """How far the images are from the clean images of the examples `rows`."""
        return np.asarray(self.threat.distance(images, self.origin[rows]))

    def received(self, images: np.ndarray) -> np.ndarray:
        """The images as they arrive: in the box and on the lattice."""
        return self.threat.received(images)

    def ask(self, rows: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Whether received images reach the criteria of the examples `rows`, which may come several times.

        That all of them have the queries left is for the caller to see to.
        """
        self._charge(rows)
        reached = self._reached(rows, self._predict(images))
        self._remember(rows[reached], images[reached])
        return reached

    def ask_origins(self) -> np.ndarray:
        """Whether each example's criterion (rows) is reached by each one's clean image (columns), at a query each."""
        rows = np.arange(len(self.origin))
        self._charge(rows)
        columns = [self._reached(rows, np.full(len(rows), answer)) for answer in self._predict(self.origin)]
        return np.stack(columns, axis=1)

    def _reached(self, rows: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return np.asarray(subset(self._criterion, rows).reached(classes))

    def _charge(self, rows: np.ndarray) -> None:
        cost = np.bincount(rows, minlength=len(self.left))
        self.left -= cost
        self._queries[self._chosen] += cost

    def _remember(self, rows: np.ndarray, images: np.ndarray) -> None:
        distance = self.away(rows, images)
        order = np.lexsort((distance, rows))  # by example, the nearest of each first
        first = order[np.unique(rows[order], return_index=True)[1]]
        first = first[distance[first] < self.distance[rows[first]]]
        self.nearest[rows[first]], self.distance[rows[first]] = images[first], distance[first]


def per_row(values: np.ndarray, images: np.ndarray) -> np.ndarray:
    """`values [n]` in a shape that multiplies `images [n, ...]`."""
    return values.reshape(-1, *[1] * (images.ndim - 1))


def towards(threat: Threat, origin: np.ndarray, images: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The images drawn into balls of `radius [n]` > 0 round `origin`: along the line in L2, by clipping in Linf."""
    radius = per_row(radius, images)
    return origin + radius * np.asarray(threat.with_epsilon(1.0).shrink((images - origin) / radius))


def bisect(
    oracle: Oracle, rows: np.ndarray, images: np.ndarray, resolution: float, rng: np.random.Generator
) -> np.ndarray:
    """Draws images to the decision boundary, towards the clean ones.

    On a lattice, images are rounded at random places between two steps, other ones for each value: else Linf moved all
    values from one step to the next at once, and ended far from the boundary.

    Args:
        oracle: what is asked.
        rows: the examples, each once.
        images: received images that reach the criterion.
        resolution: share of the distance at which the bisection ends, unless nothing is left to spend before, or what
            it moves is lost in rounding.
        rng: of the rounding.

    Returns:
        Received images that reach the criterion.
    """
    found, near, far = images.copy(), np.zeros(len(rows)), oracle.away(rows, images).astype(np.float64)
    enough = np.maximum(resolution * far, oracle.grain / np.sqrt(images[0].size))
    dither = (oracle.threat.lattice or 0.0) * rng.uniform(-0.5, 0.5, images.shape)
    while len(at := np.flatnonzero((far - near > enough) & oracle.working[rows])):
        middle = (near[at] + far[at]) / 2
        drawn = towards(oracle.threat, oracle.origin[rows[at]], images[at], middle.astype(np.float32))
        asked = oracle.received(drawn + dither[at])
        reached = oracle.ask(rows[at], asked)
        far[at[reached]], near[at[~reached]] = middle[reached], middle[~reached]
        found[at[reached]] = asked[reached]
    return found


def find_starts(oracle: Oracle, resolution: float, rng: np.random.Generator) -> None:
    """Asks the oracle about images on the boundary, on the way from others that reach the criteria.

    Which start is taken decides on the valley in which a walk along the boundary ends, so several are tried: drawn as
    near as the nearest found so far, all but the promising ones fail at the first query.
    """
    count = len(oracle.origin)
    everyone = np.arange(count)
    usable = oracle.ask_origins()
    lengths = np.stack([oracle.away(everyone, oracle.origin[[i] * count]) for i in everyone], axis=1)
    lengths[~usable | (lengths == 0)] = np.inf
    nearest, others = np.argsort(lengths, axis=1), np.isfinite(lengths).sum(axis=1)
    for index in range(MOST_STARTS):
        early = (index < STARTS) & (oracle.left > (1 - START_BUDGET_SHARE) * oracle.budget)
        rows = np.flatnonzero(oracle.working & (early | np.isinf(oracle.distance)))
        if not len(rows):
            return
        images = rng.uniform(*oracle.threat.bounds, oracle.origin[rows].shape).astype(np.float32)
        known = index < others[rows]
        images[known] = oracle.origin[nearest[rows[known], min(index, count - 1)]]
        _try(oracle, rows, oracle.received(images), resolution, rng)


def _try(oracle: Oracle, rows: np.ndarray, images: np.ndarray, resolution: float, rng: np.random.Generator) -> None:
    radius = np.minimum(oracle.away(rows, images), oracle.distance[rows])
    asked = oracle.received(towards(oracle.threat, oracle.origin[rows], images, radius))
    reached = oracle.ask(rows, asked)
    if reached.any():
        bisect(oracle, rows[reached], asked[reached], resolution, rng)
