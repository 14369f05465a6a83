"""AutoAttack: the ensemble that needs no parameters."""

import dataclasses
import time
from collections.abc import Callable

import numpy as np

from tfharden.attacks.composite.multi_targeted import MultiTargeted
from tfharden.attacks.core.attack import Attack
from tfharden.attacks.core.result import AttackStage
from tfharden.attacks.core.search_state import SearchState
from tfharden.attacks.gradient.apgd import APGD, APGDDLR
from tfharden.attacks.minimum_norm.fab import FAB
from tfharden.attacks.score.square import Square
from tfharden.classifiers import Classifier
from tfharden.serialization import registered
from tfharden.threats import Threat


@registered
@dataclasses.dataclass(frozen=True)
class AutoAttack(Attack):
    """APGD on the cross entropy, targeted APGD on the DLR, targeted FAB and Square, each on what the one before left.

    Croce and Hein 2020, arXiv:2003.01690, the standard version (in L1 that of Croce and Hein 2021, arXiv:2103.01208:
    five restarts, five targets). It
    fits itself to models of few classes: as many targets as there are wrong classes, and a DLR that compares what
    there is to compare. A randomised model is attacked with `eot-apgd-ce` and `eot-apgd-dlr` instead.

    Args:
        threat: ball and box.
        seed: of all random draws.
    """

    threat: Threat
    _: dataclasses.KW_ONLY
    seed: int = 0

    name = "autoattack"
    access = "white-box"
    kind = "ensemble"
    targetable = False

    @property
    def members(self) -> tuple[Attack, ...]:
        """The attacks, in their order."""
        sparse = self.threat.sparse_steps
        return (
            APGD(self.threat, seed=self.seed, restarts=5 if sparse else 1),
            MultiTargeted(APGDDLR(self.threat, seed=self.seed), classes=5 if sparse else 9),
            MultiTargeted(FAB(self.threat, seed=self.seed, early_exit=True), classes=9),
            Square(self.threat, queries=5000, stretch=False, seed=self.seed),
        )

    def _prepare(self, classifier: Classifier) -> Callable[[SearchState], None]:
        members = self.members
        prepared = [member._prepare(classifier) for member in members]

        def cascade(search: SearchState) -> None:
            done = 0 if search.checkpoint is None else len(search.checkpoint.stages)
            for place, (member, run) in enumerate(zip(members, prepared, strict=True)):
                if place < done or search.solved.all():
                    continue
                began, before = time.perf_counter(), search.solved.sum()
                run(search.part(slice(None), (place, len(members))))
                # What fell is counted on the classifier itself, on what it receives, as the final count does.
                received = np.asarray(self.threat.round_to_lattice_in_ball(search.adversarial, search.origin))
                search.solved[:] = search.criterion.reached(classifier.predict(received))
                search.enter(AttackStage(member.name, int(search.solved.sum() - before), time.perf_counter() - began))
                search.save()

        return cascade
