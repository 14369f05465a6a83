"""Results of one model: facts, accuracy under attacks, checks and probes."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from tfharden.errors import InputError
from tfharden.evaluation.results.probes import PROBE_RESULTS
from tfharden.evaluation.results.record import OMITTED, Count, Interval, Positive, Record, Share


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LatencyResult(Record):
    """Time that a file takes for an image, in seconds: `models[].latency` of docs/report.md."""

    seconds: Positive
    threads: Count
    rounds: Count
    images: Count
    kernels: str


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TwinResult(Record):
    """Agreement of the twin that gives a file's gradients with the interpreter: `models[].twin` of docs/report.md.

    Where there is no twin, `missing` is the reason and all other fields are None.
    """

    missing: str | None
    num_examples: Count | None = dataclasses.field(default=None, metadata=OMITTED)
    exact: Share | None = dataclasses.field(default=None, metadata=OMITTED)
    logits_exact: Share | None = dataclasses.field(default=None, metadata=OMITTED)
    largest_lsb: Positive | None = dataclasses.field(default=None, metadata=OMITTED)
    classes: Share | None = dataclasses.field(default=None, metadata=OMITTED)

    def check(self, place: str) -> None:  # noqa: D102
        if self.missing is None and None in (self.num_examples, self.logits_exact, self.largest_lsb, self.classes):
            raise InputError(f"{place}: a twin that is not missing needs its numbers")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CheckResult(Record):
    """Verdict of a check. After a "fail" the numbers of its model are not to be trusted."""

    name: str
    status: Literal["pass", "warn", "fail"]
    detail: str


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


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class WorstCase(Record):
    """All attacks on a model together: the share of the images that stay right under every one."""

    robust_accuracy: Share
    interval: Interval
    attacks: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ModelFacts(Record):
    """Facts about a model and its file, known before anything is run on it. `role` is free text, such as "student"."""

    name: str | None = dataclasses.field(default=None, metadata=OMITTED)
    path: str | None
    sha256: str | None
    bytes: Count | None
    kernels: str | None
    latency: LatencyResult | None = None
    format: str
    parameters: Count | None
    role: str | None = dataclasses.field(default=None, metadata=OMITTED)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ModelResult(ModelFacts):
    """One model under all attacks: `models[]` of docs/report.md. Accuracies are shares of all images."""

    clean_accuracy: Share
    clean_interval: Interval
    attacks: tuple[AttackSummary, ...]
    worst_case: WorstCase
    twin: TwinResult | None = None
    checks: tuple[CheckResult, ...]
    probes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_json(cls, value: object, place: str = "report.json") -> Self:  # noqa: D102
        made = super().from_json(value, place)
        probes = {
            name: PROBE_RESULTS[name].from_json(found, f"{place}: probes.{name}") if name in PROBE_RESULTS else found
            for name, found in made.probes.items()
        }
        return dataclasses.replace(made, probes=probes)

    def check(self, place: str) -> None:  # noqa: D102
        if self.name is None and self.path is None:
            raise InputError(f"{place}: a model needs a name or a path")
