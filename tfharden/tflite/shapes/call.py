"""An operator and what it is given."""

import dataclasses
from typing import Any

import numpy as np

from tfharden.errors import InputError
from tfharden.tflite.format.flatbuffer import Table

Dims = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Call:
    """An operator and what it is given: `dims` of its inputs, and `values` of those that are known whole numbers."""

    operator: Table
    dims: list[Dims]
    values: list[np.ndarray | None]

    def option(self, name: str) -> Any:  # noqa: ANN401
        """An option; absent ones are zeros."""
        return getattr(self.operator.builtin_options, name, 0)

    def whole(self, place: int) -> list[int]:
        """The whole numbers at an input.

        Raises:
            InputError: they only come about during a run.
        """
        value = self.values[place]
        if value is None:
            raise InputError(f"{self.operator.label} needs numbers that aren't known before it runs")
        return value.reshape(-1).tolist()

    def axis(self, number: int, rank: int) -> int:
        """An axis, counted from the first.

        Raises:
            IndexError: there is no such axis.
        """
        return range(rank)[number]
