"""Attack runs: an attack and its result on one model."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from tfharden.attacks import PGD, Attack, AttackResult, EoT, GradientAttack, Universal
from tfharden.attacks.core.wrapper import Wrapper
from tfharden.evaluation.results import AttackSummary, StageResult
from tfharden.evaluation.statistics import share_interval
from tfharden.losses import Loss


@dataclasses.dataclass(frozen=True, eq=False)
class AttackRun:
    """One attack on one model. `name` is the attack's name in the report."""

    name: str
    attack: Attack
    result: AttackResult

    @property
    def is_white_box(self) -> bool:
        """Whether the attack takes gradients of the model itself."""
        return self.attack.access == "white-box"

    @property
    def takes_one_step(self) -> bool:
        """Whether it takes a single gradient of each image."""
        return isinstance(self.attack, GradientAttack) and self.attack.steps * self.attack.restarts == 1

    @property
    def takes_many_steps(self) -> bool:
        """Whether it follows the gradients of each image over several steps. A universal perturbation does not."""
        return self.is_white_box and not self.takes_one_step and not isinstance(self.attack, Universal)

    @property
    def is_averaged(self) -> bool:
        """Whether it averages gradients over the draws of a random model."""
        attack = self.attack
        while isinstance(attack, Wrapper) and not isinstance(attack, EoT):
            attack = attack.attack
        return isinstance(attack, EoT)

    @property
    def loss(self) -> Loss | None:
        """The loss that it maximises, if it is a gradient attack."""
        return self.attack.loss if isinstance(self.attack, GradientAttack) else None

    @property
    def path_length(self) -> float | None:
        """Length of all its steps together, if the step size was given."""
        attack = self.attack
        return attack.steps * attack.step_size if isinstance(attack, PGD) and attack.step_size is not None else None

    def first(self, count: int) -> "AttackRun":
        """The same run on its first images."""
        return dataclasses.replace(self, result=dataclasses.replace(self.result, success=self.result.success[:count]))

    def summary(self, right: np.ndarray) -> AttackSummary:
        """The record for report.json. `right` tells which images the model gets right when clean, `[n]`."""
        result = self.result
        attacked = right if right.any() else np.ones_like(right)
        return AttackSummary(
            name=self.name,
            access=self.attack.access,
            robust_accuracy=result.robust_accuracy,
            interval=share_interval(~result.success),
            lost_to_rounding=int(result.lost.sum()),
            success_rate=float(result.success[right].mean()) if right.any() else None,
            queries_mean=float(result.queries[attacked].mean()),
            gradients_mean=float(result.gradients[attacked].mean()),
            seconds=result.seconds,
            parameters=result.parameters,
            stages=tuple(self._stages(right)),
            minimum_median=None if result.minimum is None else float(np.median(result.minimum[attacked])),
        )

    def _stages(self, right: np.ndarray) -> Iterator[StageResult]:
        """The members of an attack that is several in a row."""
        succeeded = itertools.accumulate(stage.succeeded for stage in self.result.stages)
        for stage, so_far in zip(self.result.stages, succeeded, strict=True):
            yield StageResult(
                name=stage.name,
                succeeded=stage.succeeded,
                robust_accuracy_after=(int(right.sum()) - so_far) / len(right),
                seconds=stage.seconds,
            )
