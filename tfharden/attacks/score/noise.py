"""Random noise: the control that every attack has to beat."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfharden.attacks.core.attack import Attack
from tfharden.attacks.core.criteria import subset
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.score.margins import remaining_margins
from tfharden.classifiers import Classifier
from tfharden.serialization import registered
from tfharden.threats import Threat


@registered
@dataclasses.dataclass(frozen=True)
class Noise(Attack):
    """Random changes as long as the threat allows: what needs no adversary to be found.

    Each is the steepest way up a random linear function: signs in Linf, a direction in L2, single values in L1.

    Args:
        threat: how long.
        draws: changes an example that are tried.
        seed: of the changes.
    """

    threat: Threat
    draws: int = 1
    seed: int = 0

    name = "noise"
    access = "score"
    kind = "noise"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("draws")

    def _search(self, classifier: Classifier, search: SearchState) -> None:
        rng = search.generator(self.seed)
        best = np.full(len(search.solved), np.inf, np.float32)
        for draw in range(self.draws):
            left = search.unsolved
            if not len(left):
                return
            moved = add_noise(self.threat, search.origin[left], rng)
            margins, succeeded = remaining_margins(classifier.logits(moved), subset(search.criterion, left))
            search.queries[left] += 1
            better = left[succeeded | (margins <= best[left])]
            search.adversarial[better] = moved[np.isin(left, better)]
            best[left] = np.minimum(best[left], margins)
            search.solved[left] = succeeded
            search.report((draw + 1) / self.draws)


def add_noise(threat: Threat, origin: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Images `origin [n, ...]`, as the device receives them, each moved in a random direction as far as it may be."""
    direction = rng.standard_normal(origin.shape, np.float32)
    moved = threat.project(threat.step(tf.constant(origin), tf.constant(direction), threat.epsilon), origin)
    return np.asarray(threat.round_to_lattice_in_ball(moved, origin))
