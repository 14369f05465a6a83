"""Results of comparisons between models: transfer, and models beside the one that they were made from."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfharden._text import aligned
from tfharden.errors import InputError
from tfharden.evaluation.formats import percent
from tfharden.evaluation.results.record import Interval, Positive, Record, Share


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TransferResult(Record):
    """Accuracy of every target on the examples made on every source, over all images: `transfer` of docs/report.md.

    `accuracy` is `[sources, targets]`; `clean` and `noise` are `[targets]`. All are shares in [0, 1].
    """

    attack: str
    parameters: Mapping[str, Any]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    accuracy: np.ndarray = dataclasses.field(metadata={"key": "robust_accuracy"})
    clean: np.ndarray = dataclasses.field(metadata={"key": "clean_accuracy"})
    noise: np.ndarray = dataclasses.field(metadata={"key": "noise_accuracy"})

    @property
    def content(self) -> dict[str, Any]:
        """The entries of report.json."""
        return self.to_json()

    @property
    def rows(self) -> list[tuple[str, np.ndarray]]:
        """Rows of the matrix by name: images without change, random noise, then the examples of each source."""
        return [("no change", self.clean), ("random noise", self.noise), *zip(self.sources, self.accuracy, strict=True)]

    def table(self) -> str:
        """The matrix in percent as aligned text."""
        header = [f"{self.attack} on", *self.targets]
        return aligned([header, *([name, *map(percent, shares)] for name, shares in self.rows)])

    def check(self, place: str) -> None:  # noqa: D102
        targets = (len(self.targets),)
        shapes = self.accuracy.shape, self.clean.shape, self.noise.shape
        if not self.sources or shapes != ((len(self.sources), *targets), targets, targets):
            raise InputError(f"{place}: a matrix needs a row a source, and a share for each target")
        if any(np.any((shares < 0) | (shares > 1)) for shares in (self.accuracy, self.clean, self.noise)):
            raise InputError(f"{place}: shares are expected to lie in [0, 1]")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class DifferentialAttack(Record):
    """One attack at one epsilon: `differential.models[].attacks[]` of docs/report.md. Shares are of all images."""

    attack: str
    epsilon: Positive
    robust_accuracy: Share
    source_robust_accuracy: Share | None
    from_source: Share | None
    to_source: Share | None
    evasive_rate: Share
    evasive_interval: Interval
    kernels: Mapping[str, Share]
    parameters: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ComparedModel(Record):
    """One model beside its source: `differential.models[]` of docs/report.md. Shares are of all images."""

    name: str
    accuracy: Share
    source_accuracy: Share
    evasive_rate: Share
    evasive_interval: Interval
    kernels: Mapping[str, Share]
    attacks: tuple[DifferentialAttack, ...]

    def check(self, place: str) -> None:  # noqa: D102
        if any(attack.kernels.keys() != self.kernels.keys() for attack in self.attacks):
            raise InputError(f"{place}: the attacks are expected to have the model's kernels")

    @property
    def at_largest_epsilon(self) -> list[DifferentialAttack]:
        """The attacks at the largest epsilon."""
        largest = max((attack.epsilon for attack in self.attacks), default=0.0)
        return [attack for attack in self.attacks if attack.epsilon == largest]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class DifferentialResult(Record):
    """Models beside the `source` that they were made from."""

    source: str
    models: tuple[ComparedModel, ...]
