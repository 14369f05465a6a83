"""Transfer: examples made on one model, counted on another."""

import dataclasses
from typing import Self

from tfharden.attacks.base import Attack, Search
from tfharden.attacks.gradient import GradientAttack
from tfharden.classifiers import Classifier
from tfharden.threats import Threat


@dataclasses.dataclass(frozen=True)
class Transfer(Attack):
    """Examples that a gradient attack makes on `surrogate`, tried on the classifier (Papernot et al. 2016).

    The attack takes all its steps and keeps the highest loss: an example that stops at the surrogate's boundary
    would seldom cross another model's.

    Args:
        attack: what is run on the surrogate; its threat is this attack's too.
        surrogate: a differentiable classifier.
    """

    attack: GradientAttack
    surrogate: Classifier

    access = "transfer"

    @property
    def threat(self) -> Threat:  # noqa: D102
        return self.attack.threat

    @property
    def name(self) -> str:
        """The attack's own name; that it came by transfer is told by `access`."""
        return self.attack.name

    def within(self, threat: Threat) -> Self:  # noqa: D102
        return dataclasses.replace(self, attack=self.attack.within(threat))

    def _search(self, classifier: Classifier, search: Search) -> None:
        attack = dataclasses.replace(self.attack, early_exit=False)
        made = attack(self.surrogate, search.origin, search.labels, progress=search.progress)
        left = search.unsolved
        search.adversarial[left] = made.adversarial[left]
        search.gradients += made.gradients
        search.blind += made.blind
