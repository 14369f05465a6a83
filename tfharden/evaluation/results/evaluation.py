"""Result of an evaluation: everything that report.json holds."""

import dataclasses
from collections.abc import Mapping
from typing import Final, Literal

from tfharden.errors import InputError
from tfharden.evaluation.results.comparisons import DifferentialResult, TransferResult
from tfharden.evaluation.results.model import ModelResult
from tfharden.evaluation.results.record import EMPTY, Count, Positive, Record

SCHEMA: Final = "tfharden.report/1"


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class DataFacts(Record):
    """The images that were attacked. `sha256` is of images and labels, with their types and shapes."""

    name: str
    num_examples: Count
    sha256: str


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ThreatFacts(Record):
    """The threat. `bounds` are `(low, high)` of every value, `lattice` is their spacing (None for any value)."""

    norm: str
    epsilon: Positive
    bounds: tuple[float, float]
    lattice: Positive | None

    def check(self, place: str) -> None:  # noqa: D102
        low, high = self.bounds
        if low >= high:
            raise InputError(f"{place}: bounds [{low}, {high}] are no range")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class EvaluationResult(Record):
    """Everything that an evaluation found: the entries of report.json, as docs/report.md explains them."""

    schema: Literal["tfharden.report/1"] = SCHEMA
    versions: Mapping[str, str]
    seed: int
    data: DataFacts
    threat: ThreatFacts
    models: tuple[ModelResult, ...]
    transfer: TransferResult | None = dataclasses.field(default=None, metadata=EMPTY)
    differential: DifferentialResult | None = dataclasses.field(default=None, metadata=EMPTY)

    @property
    def attack_names(self) -> list[str]:
        """Names of all models' attacks, in the order in which they first appear."""
        return list(dict.fromkeys(attack.name for model in self.models for attack in model.attacks))

    def merged(self, other: "EvaluationResult") -> "EvaluationResult":
        """One evaluation of the models of both, of the same data, threat, seed and versions.

        Raises:
            InputError: the evaluations don't fit together.
        """
        seeds, versions = (self.seed, other.seed), (dict(self.versions), dict(other.versions))
        self._check_same(other, "merged", ("seed", *seeds), ("versions", *versions))
        if twice := {_identity(model) for model in self.models} & {_identity(model) for model in other.models}:
            raise InputError(f"{sorted(map(str, twice))[0]} is in both reports: merge reports of different models")
        if self.transfer and other.transfer:
            raise InputError("both reports have a transfer matrix: evaluate their models together for one of all")
        return dataclasses.replace(
            self,
            models=self.models + other.models,
            transfer=self.transfer or other.transfer,
            differential=_merged_differential(self.differential, other.differential),
        )

    def check_comparable(self, other: "EvaluationResult") -> None:
        """Refuses an evaluation whose numbers can't be set beside these.

        Raises:
            InputError: other data, or another threat.
        """
        self._check_same(other, "compared")

    def _check_same(self, other: "EvaluationResult", action: str, *more: tuple[str, object, object]) -> None:
        data = ("data", *((result.data.num_examples, result.data.sha256) for result in (self, other)))
        threat = ("threat", *(result.threat.to_json() for result in (self, other)))
        for name, mine, others in (data, threat, *more):
            if mine != others:
                raise InputError(f"reports of different {name} can't be {action}: {mine} and {others}")


def _identity(model: ModelResult) -> tuple[str | None, str | None, str | None]:
    return model.name, model.path, model.sha256


def _merged_differential(one: DifferentialResult | None, other: DifferentialResult | None) -> DifferentialResult | None:
    if not (one and other):
        return one or other
    if one.source != other.source:
        raise InputError(f"reports beside different sources can't be merged: {one.source} and {other.source}")
    return dataclasses.replace(one, models=one.models + other.models)
