"""Square attack: random search without gradients."""

import dataclasses

import numpy as np

from tfharden.attacks.core.attack import Attack
from tfharden.attacks.core.criteria import subset
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.score.margins import remaining_margins
from tfharden.attacks.score.square_proposals import make_proposals
from tfharden.classifiers import Classifier
from tfharden.errors import InputError
from tfharden.serialization import registered
from tfharden.threats import Threat

# Share of the pixels that a square covers, halved after these queries of 10,000 (Andriushchenko et al. 2020).
INITIAL_SHARE = 0.8
HALVINGS = np.array([10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000])
SCHEDULE_LENGTH = 10_000


@registered
@dataclasses.dataclass(frozen=True)
class Square(Attack):
    """Random search in squares (Andriushchenko et al. 2020, arXiv:1912.00049; for L1 Croce and Hein 2021).

    A change within a square that shrinks with time is kept unless the margin rises; `square_proposals` says how it is
    drawn in each norm. Every image has a square of its own, squares reach every row and column, and an integer model
    is attacked on exactly the values that it can receive. A vector is taken as an image of one row.

    Args:
        threat: an Linf, L2 or L1 threat.
        queries: forward passes an example, at most.
        seed: of the random search.
        stretch: fit the schedule by which squares shrink to `queries`; without it that of 10,000 queries is followed
            as far as they go, as AutoAttack does.
    """

    threat: Threat
    queries: int = 1000
    seed: int = 0
    stretch: bool = True

    name = "square"
    access = "score"
    kind = "score"
    norms = ("Linf", "L2", "L1")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("queries")

    def _search(self, classifier: Classifier, search: SearchState) -> None:
        left = search.unsolved
        shape = search.origin.shape[1:]
        origin = search.origin[left].reshape(-1, *self._as_image(shape))
        proposals = make_proposals(self.threat, origin, search.generator(self.seed))
        criterion, best = subset(search.criterion, left), np.full(len(left), np.inf)
        for query in range(self.queries):
            if not len(left):
                return
            if query:
                proposals.propose(self._share(query))
            margins, succeeded = remaining_margins(classifier.logits(proposals.images.reshape(-1, *shape)), criterion)
            search.queries[left] += 1
            # Ties are taken: the margin of an integer model is a staircase, and only moves along its steps lead down.
            kept = (margins <= best) | succeeded
            proposals.settle(kept)
            best = np.where(kept, margins, best)
            if succeeded.any():
                search.solved[left] = succeeded
                search.adversarial[left[succeeded]] = proposals.images[succeeded].reshape(-1, *shape)
                left, criterion, best = left[~succeeded], subset(criterion, ~succeeded), best[~succeeded]
                proposals.pack(~succeeded)
            search.report((query + 1) / self.queries)
        search.adversarial[left] = proposals.images.reshape(-1, *shape)

    def _share(self, query: int) -> float:
        """Share of the pixels that a square covers at this query."""
        place = query * SCHEDULE_LENGTH / self.queries if self.stretch else query
        return INITIAL_SHARE / 2 ** int(np.sum(place > HALVINGS))

    def _as_image(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Height, width and channels."""
        match shape:
            case (length,):
                return 1, length, 1
            case height, width:
                return height, width, 1
            case height, width, channels:
                return height, width, channels
        raise InputError(f"square needs images [height, width, channels], images without channels or vectors: {shape}")
