"""Result of one attack on one model."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from tfharden.evaluation.results.record import OMITTED, Count, Interval, Positive, Record, Share


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class StageResult(Record):
    """One member of an attack that is several in a row.

    Attributes:
        name: the member.
        succeeded: images on which it succeeded after all before had failed.
        robust_accuracy_after: share of all images still right after it.
        seconds: its wall time.
    """

    name: str
    succeeded: Count = dataclasses.field(metadata={"key": "fell"})
    robust_accuracy_after: Share
    seconds: Positive


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class AttackSummary(Record):
    """What one attack did to one model. Rates and means are over the images that were right when clean.

    Attributes:
        name: what the report calls the attack.
        access: what the attack needs of the model: "white-box", "score", "decision", "transfer" or "none".
        robust_accuracy: share of all images that stay right; a clean error counts as an error.
        interval: 95% interval of it.
        lost_to_rounding: images that the attack took for solved and that the model gets right.
        success_rate: share of the images that succeeded; None if none was right.
        queries_mean: forward passes without a gradient.
        gradients_mean: forward and backward passes.
        seconds: wall time.
        parameters: the attack's settings, in plain values.
        stages: of an attack that is several in a row, what each of them did.
        minimum_median: of a minimum-norm attack, the median length of the smallest perturbation found: infinity where
            it found none for half of the images. None of other attacks.
    """

    name: str
    access: str
    robust_accuracy: Share
    interval: Interval
    lost_to_rounding: Count | None = dataclasses.field(default=None, metadata=OMITTED)
    success_rate: Share | None
    queries_mean: Positive
    gradients_mean: Positive
    seconds: Positive | None
    parameters: Mapping[str, Any]
    stages: tuple[StageResult, ...] = dataclasses.field(default=(), metadata=OMITTED)
    minimum_median: Positive | None = dataclasses.field(default=None, metadata=OMITTED)

    def to_json(self) -> dict[str, Any]:  # noqa: D102 - JSON has no infinity
        entries = super().to_json()
        return entries | {"minimum_median": None} if self.minimum_median == math.inf else entries

    @classmethod
    def from_json(cls, value: object, place: str = "report.json") -> "AttackSummary":  # noqa: D102
        made = super().from_json(value, place)
        is_infinite = made.minimum_median is None and "minimum_median" in value  # type: ignore[operator]
        return dataclasses.replace(made, minimum_median=math.inf) if is_infinite else made
