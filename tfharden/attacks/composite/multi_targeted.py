"""Multi-targeted attack: attempts at any error, one towards each of the likeliest wrong classes."""

import dataclasses
from collections.abc import Callable

import numpy as np

from tfharden.attacks.core.criteria import Towards
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.core.wrapper import Wrapper, computed
from tfharden.classifiers import Classifier
from tfharden.errors import InputError
from tfharden.serialization import formerly, registered


@formerly("RunnerUps")
@registered
@dataclasses.dataclass(frozen=True)
class MultiTargeted(Wrapper):
    """Runs an attack towards each of the wrong classes with the largest logits; any error counts.

    An untargeted loss follows the nearest wrong class of the moment and may never try the one that can be reached
    (Gowal et al. 2019, arXiv:1910.09338; Croce and Hein 2020, arXiv:2003.01690, APGD-T and FAB-T).

    Args:
        attack: what is run, once for each class.
        classes: number of classes that are tried, as far as the model has so many.
    """

    classes: int = 9

    targetable = False
    name = computed(lambda self: f"{self.attack.name}-t")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_counts("classes")
        if not self.attack.targetable:
            raise InputError(f"{self.attack.name} has no targeted form")

    def _prepare(self, classifier: Classifier) -> Callable[[SearchState], None]:
        run = self.attack._prepare(classifier)

        def towards_each(search: SearchState) -> None:
            logits, labels = classifier.logits(search.origin), search.criterion.labels
            logits[np.arange(len(labels)), labels] = -np.inf
            ranked = np.argsort(-logits, axis=1, kind="stable").astype(np.int32)
            count = min(self.classes, classifier.num_classes - 1)
            for rank in range(count):
                part = search.part(slice(None), (rank, count))
                run(dataclasses.replace(part, criterion=Towards(labels, ranked[:, rank])))

        return towards_each
