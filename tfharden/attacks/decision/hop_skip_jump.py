"""HopSkipJump: a walk along the decision boundary towards the clean image, by the classifier's decisions alone."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from tfharden.attacks.core.criteria import Criterion
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.decision.oracle import Oracle, bisect, find_starts, per_row
from tfharden.attacks.minimum_norm.attack import MinimumNormAttack, Solver
from tfharden.classifiers import Classifier, images_per_call
from tfharden.errors import InputError
from tfharden.serialization import registered

# Halvings of a bisection at most, since float32 knows no finer shares.
HALVINGS = 24
FIRST_PROBE = 0.1  # length of the first probes, as a share of the box
LAST_ROUND_FACTOR = 1.5  # a round takes all that is left where that is less than so many times its own probes
NORMAL_MOMENTUM = 0.5  # weight of the probes of the round before
# Lengths that a round can surely try, and the share of the first below which it gives up.
JUMPS, SHORTEST_JUMP = 4, 1e-4
# A start, two bisections and the jump between them.
RESERVED_QUERIES = 2 + 2 * HALVINGS + JUMPS


@registered
@dataclasses.dataclass(frozen=True)
class HopSkipJump(MinimumNormAttack):
    """A walk along the decision boundary by decisions alone (Chen et al. 2020, arXiv:1904.02144).

    Round t asks, at an image on the boundary, which of B sqrt(t) small random changes reach the criterion; their mean
    weighted by the answers +-1, less the mean answer, estimates the normal of the boundary. From there the image moves
    along it by its distance / sqrt(t), halved until the criterion is reached, and a bisection towards the clean image
    leads back to the boundary.

    Beyond the paper: the clean images of other examples serve as starts, of several starts the nearest to the boundary
    is taken, a round remembers half of the answers of the last one, and the last round spends what is left. On a
    lattice probes are long enough to change about every value by a step.

    Args:
        threat: an Linf or L2 threat, whose norm is what is minimised.
        queries: forward passes an example, at most: `initial_samples` + 54 or more.
        seed: of the random search.
        initial_samples: probes of the first round (B).
        most_samples: probes of a round, at most.
    """

    queries: int = 5000
    seed: int = 0
    initial_samples: int = 100
    most_samples: int = 10_000

    name = "hop-skip-jump"
    access = "decision"
    kind = "decision"
    norms = ("L2", "Linf")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("queries", "initial_samples", "most_samples")
        least = self.initial_samples + RESERVED_QUERIES
        if self.queries < least:
            raise InputError(
                f"{self.name}: queries={self.queries} are too few for a start, two bisections and the first round: "
                f"give {least} or more, or fewer initial_samples than {self.initial_samples}"
            )
        if self.most_samples < self.initial_samples:
            raise InputError(
                f"{self.name}: most_samples={self.most_samples} has to be initial_samples={self.initial_samples} "
                f"or more"
            )

    def _solver(self, classifier: Classifier, kind: type[Criterion]) -> Solver:
        enough = self.threat.epsilon + self.threat.tolerance if self.early_exit else 0.0

        def solve(search: SearchState, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            oracle = Oracle(classifier, self.threat, search, chosen, self.queries, enough)
            count, before = np.sum(search.minimum > 0), np.sum(search.minimum[: chosen[0]] > 0)
            for share in self._walk(oracle, search.generator(self.seed, int(chosen[0]))):
                search.report(min(1.0, (before + share * len(chosen)) / count))
            return oracle.nearest, np.isfinite(oracle.distance)

        return solve

    def _walk(self, oracle: Oracle, rng: np.random.Generator) -> Iterator[float]:
        """Lets the oracle see nearer and nearer images; after each round, how much of the budget is spent."""
        size = oracle.origin[0].size
        # The bisection ends at this share of the distance: theta of the paper, d^-2 in Linf and d^-1.5 in L2.
        resolution = max(size ** -(2 - 1 / self.threat.order), 2.0**-HALVINGS)
        reserve = math.ceil(-math.log2(resolution)) + JUMPS
        find_starts(oracle, resolution, rng)
        x, normal = oracle.nearest.copy(), np.zeros(oracle.origin.shape, np.float32)
        started, turn = np.isfinite(oracle.distance), 0
        while len(rows := np.flatnonzero(started & oracle.working & (oracle.left > reserve))):
            turn += 1
            distance = oracle.away(rows, x[rows])
            length = self._probe_length(oracle, distance, size, turn)
            probes = self._probes(oracle.left[rows] - reserve, turn)
            normal[rows] = NORMAL_MOMENTUM * normal[rows] + estimate_normal(oracle, rows, x[rows], length, probes, rng)
            reached, jumped = self._jump(oracle, rows, x[rows], normal[rows], distance / math.sqrt(turn))
            if reached.any():
                x[rows[reached]] = bisect(oracle, rows[reached], jumped[reached], resolution, rng)
            yield 1 - float(oracle.left.mean()) / self.queries

    def _probe_length(self, oracle: Oracle, distance: np.ndarray, size: int, turn: int) -> np.ndarray:
        """Euclidean length of the probes (delta of the paper, the same in both norms), but not lost in rounding."""
        low, high = self.threat.bounds
        length = np.full_like(distance, FIRST_PROBE * (high - low)) if turn == 1 else distance / size
        return np.maximum(length, oracle.grain * math.sqrt(size))

    def _probes(self, left: np.ndarray, turn: int) -> np.ndarray:
        """Number of probes of each example, which has `left` queries for them."""
        planned = min(int(self.initial_samples * math.sqrt(turn)), self.most_samples)
        return np.minimum(np.where(left < LAST_ROUND_FACTOR * planned, left, planned), self.most_samples)

    def _jump(
        self, oracle: Oracle, rows: np.ndarray, x: np.ndarray, normal: np.ndarray, length: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Whether a move along the normals, of `length` or a part of it, reached the criterion, and where it led."""
        direction, jumped = np.asarray(self.threat.steepest(normal)), x.copy()
        reached, least = np.zeros(len(rows), bool), np.maximum(SHORTEST_JUMP * length, oracle.grain / 2)
        while len(at := np.flatnonzero(~reached & (length > least) & oracle.working[rows])):
            jumped[at] = oracle.received(x[at] + per_row(length[at], x) * direction[at])
            reached[at] = oracle.ask(rows[at], jumped[at])
            length = np.where(reached, length, length / 2)
        return reached, jumped


def estimate_normal(
    oracle: Oracle, rows: np.ndarray, x: np.ndarray, length: np.ndarray, probes: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The direction into the region where the criterion is reached, from images `x` on its boundary.

    Args:
        oracle: what is asked.
        rows: the examples, each once.
        x: received images, one an example.
        length: Euclidean length of the probes, `[n]`.
        probes: how many, `[n]`.
        rng: of the probes.

    Returns:
        Sums over the probes u of (answer - mean answer) u, with answers +-1; where all answers are the same they are
        taken as they are.
    """
    index = np.repeat(np.arange(len(rows)), probes)
    weighted, plain, answers = np.zeros(x.shape), np.zeros(x.shape), np.zeros(len(rows))
    most = images_per_call(x[0].size)
    for first in range(0, len(index), most):
        at = index[first : first + most]
        change = rng.standard_normal((len(at), *x.shape[1:]), np.float32)
        change *= per_row(length[at] / np.linalg.norm(change.reshape(len(at), -1), axis=1), x)
        asked = oracle.received(x[at] + change)
        answer = np.where(oracle.ask(rows[at], asked), 1.0, -1.0)
        # What arrived, not what was sent: box and lattice have changed it.
        change = (asked - x[at]) / per_row(length[at], x)
        heads = np.flatnonzero(np.diff(at, prepend=-1))
        for total, part in ((weighted, per_row(answer, x) * change), (plain, change), (answers, answer)):
            total[at[heads]] += np.add.reduceat(part, heads)
    mean = answers / probes
    return weighted - per_row(np.where(np.abs(mean) < 1, mean, 0.0), x) * plain
