"""Result of one attack on one model."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from tfharden.evaluation.results.record import OMITTED, Count, Interval, Positive, Record, Share


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class StageResult(Record):
    """One member of an attack that is several in a row. `succeeded` counts images that all members before it missed."""

    name: str
    succeeded: Count = dataclasses.field(metadata={"key": "fell"})
    robust_accuracy_after: Share
    seconds: Positive


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class AttackSummary(Record):
    """Result of one attack on one model: `models[].attacks[]` of docs/report.md.

    Accuracy is a share of all images, in [0, 1]. Rates and means are over the images that were right when clean.
    `minimum_median` is infinite where a minimum-norm attack found no perturbation for half of the images.
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
