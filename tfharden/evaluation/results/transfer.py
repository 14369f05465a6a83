"""Result of transfer: accuracy of each model on the adversarial examples of each."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfharden._text import aligned
from tfharden.errors import InputError
from tfharden.evaluation.formats import percent
from tfharden.evaluation.results.record import Record


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TransferResult(Record):
    """Accuracy of every target on the examples made on every source, over all images.

    Attributes:
        attack: name of the attack.
        parameters: its settings, in plain values.
        sources: names of the models that examples were made on, those that the attack can be run on.
        targets: names of all models.
        accuracy: `[sources, targets]`; where both are one model, what the attack itself leaves of it.
        clean: accuracy without an attack, `[targets]`.
        noise: accuracy under random noise as long as the perturbations may be, `[targets]`.
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
        """What report.json holds of it."""
        return self.to_json()

    def table(self) -> str:
        """The matrix in percent as aligned text: a row a source, above them one without change and one of noise."""
        rows = [("no change", self.clean), ("random noise", self.noise), *zip(self.sources, self.accuracy, strict=True)]
        header = [f"{self.attack} on", *self.targets]
        return aligned([header, *([name, *map(percent, shares)] for name, shares in rows)])

    def check(self, place: str) -> None:  # noqa: D102
        targets = (len(self.targets),)
        shapes = self.accuracy.shape, self.clean.shape, self.noise.shape
        if not self.sources or shapes != ((len(self.sources), *targets), targets, targets):
            raise InputError(f"{place}: a matrix needs a row a source, and a share for each target")
        if any(np.any((shares < 0) | (shares > 1)) for shares in (self.accuracy, self.clean, self.noise)):
            raise InputError(f"{place}: shares are expected to lie in [0, 1]")
