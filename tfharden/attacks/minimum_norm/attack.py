"""Minimum-norm attacks: the distance of the nearest adversarial example, whatever epsilon."""

import abc
import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from tfharden.attacks.core.attack import Attack
from tfharden.attacks.core.criteria import Criterion
from tfharden.attacks.core.search_state import SearchState
from tfharden.classifiers import BATCH_SIZE, Classifier
from tfharden.threats import Threat

# From a search and the indices of some of its examples to the nearest image found for each, and whether that image
# reaches the criterion. Images lie in the box and on the lattice; where none reaches it, the best attempt is given.
Solver = Callable[[SearchState, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class MinimumNormAttack(Attack):
    """A search for the smallest perturbation that reaches the criterion; subclasses say how.

    It counts as success within the threat's epsilon; `AttackResult.minimum` tells its length in any case. With an
    epsilon as large as the box (1 for Linf in [0, 1], sqrt(d) for L2) the nearest example itself is returned.

    Args:
        threat: its norm is what is minimised.
        early_exit: leave an example alone once it has fallen within epsilon, though a nearer one may be found by
            another restart or target.
    """

    threat: Threat
    _: dataclasses.KW_ONLY
    early_exit: bool = False

    access = "white-box"
    kind = "minimum-norm"
    minimises = True

    @abc.abstractmethod
    def _solver(self, classifier: Classifier, kind: type[Criterion]) -> Solver:
        """What finds the nearest images on this classifier for criteria of this kind, and counts what it costs."""

    def _prepare(self, classifier: Classifier) -> Callable[[SearchState], None]:
        if self.access == "white-box":
            classifier.require_gradients()
        solver: Callable[..., Solver] = functools.cache(functools.partial(self._solver, classifier))

        def run(search: SearchState) -> None:
            open_ones = search.unsolved if self.early_exit else np.flatnonzero(search.minimum > 0)
            for first in range(0, len(open_ones), BATCH_SIZE):
                chosen = open_ones[first : first + BATCH_SIZE]
                self._keep(search, chosen, *solver(type(search.criterion))(search, chosen))
                search.report(min(1.0, (first + BATCH_SIZE) / len(open_ones)))

        return run

    def _keep(self, search: SearchState, chosen: np.ndarray, found: np.ndarray, reached: np.ndarray) -> None:
        """Enters what was found for the examples `chosen` where it is nearer than what was known."""
        threat, origin = self.threat, search.origin[chosen]
        distance = np.where(reached, np.asarray(threat.distance(found, origin)), np.inf)
        near = distance < search.minimum[chosen]
        search.minimum[chosen[near]] = distance[near]
        inside = distance <= threat.epsilon + threat.tolerance
        # Of what lies too far, the part of the way that epsilon allows may still succeed: the final count decides.
        attempt = np.where(
            inside.reshape(-1, *[1] * (found.ndim - 1)), found, np.asarray(threat.project(found, origin))
        )
        take = np.where(search.solved[chosen], near & inside, True)
        search.adversarial[chosen[take]] = attempt[take]
        search.solved[chosen] |= inside
