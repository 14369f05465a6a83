"""Records: dataclasses that are objects of report.json, written and read back by their annotations."""

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np

from tfharden._validation import is_finite_number, is_whole_number
from tfharden.errors import InputError

MAX_DEPTH = 32
"""Levels of values that have no record of their own, such as an attack's parameters."""
OMITTED = {"omitted": True}
"""Metadata of a field that report.json has only where it differs from its default."""
LARGEST = 2**63
"""Largest whole number."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """The smallest and the largest number that an annotation allows."""

    least: float
    most: float = math.inf


Share = Annotated[float, Limits(0, 1)]
Count = Annotated[int, Limits(0)]
Positive = Annotated[float, Limits(0)]
Interval = tuple[Share, Share]
Shares = tuple[Share, ...]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Record:
    """An object of report.json. Subclasses are frozen dataclasses whose fields are in the order of report.json.

    A field is a string, a number, a boolean, an array, another record, a tuple, a mapping with text for keys, or any
    of these or None. `Any` stands for whatever JSON holds. A field's metadata may hold the `key` that it has in JSON.

    Attributes:
        unknown: entries that this version does not know. They are kept, so that a file which a later version wrote
            is saved again as it was.
    """

    unknown: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The record as JSON has it: mappings, lists, text, numbers and None."""
        entries = {
            name: _plain(getattr(self, field.name))
            for name, field in _fields(type(self)).items()
            if not (field.metadata.get("omitted") and getattr(self, field.name) is field.default)
        }
        return entries | dict(self.unknown)

    @classmethod
    def from_json(cls, value: object, place: str = "report.json") -> Self:
        """The record that `to_json` wrote.

        Args:
            value: what was read. NumPy numbers and arrays are understood too.
            place: where it stood, for messages.

        Raises:
            InputError: an entry is missing, or has a type or a value that does not belong there.
        """
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise InputError(f"{place}: an object is expected, not {_told(value)}")
        fields, hints = _fields(cls), _hints(cls)
        found = {}
        for name, field in fields.items():
            if name in value:
                found[field.name] = _read(hints[field.name], value[name], f"{place}: {name}")
            elif field.default is field.default_factory is dataclasses.MISSING:
                raise InputError(f"{place}: {name} is missing")
        unknown = {name: _read(Any, item, f"{place}: {name}") for name, item in value.items() if name not in fields}
        made = cls(**found, unknown=unknown)
        made.check(place)
        return made

    def check(self, place: str) -> None:
        """Refuses entries that do not fit each other.

        Raises:
            InputError: they don't.
        """


def check_lengths(place: str, **lengths: int) -> None:
    """Refuses lists of different lengths.

    Raises:
        InputError: they differ.
    """
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{length} of {name}" for name, length in lengths.items())
        raise InputError(f"{place}: lists of different lengths: {told}")


def _fields(cls: type[Record]) -> dict[str, dataclasses.Field[Any]]:
    """Fields by their names in JSON."""
    return {
        field.metadata.get("key", field.name): field for field in dataclasses.fields(cls) if field.name != "unknown"
    }


def _hints(cls: type[Record]) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _read(kind: Any, value: Any, place: str) -> Any:  # noqa: ANN401
    """The value as a field of this kind holds it."""
    value = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _read(arguments[0], value, place)
    if isinstance(kind, type) and issubclass(kind, Record):
        return kind.from_json(value, place)
    return _READERS[origin or kind](value, arguments, place)


def _read_text(value: Any, _: tuple[Any, ...], place: str) -> str:  # noqa: ANN401
    return _checked(isinstance(value, str), value, place, "text")


def _read_whole(value: Any, _: tuple[Any, ...], place: str) -> int:  # noqa: ANN401
    return _checked(is_whole_number(value) and abs(value) <= LARGEST, value, place, "a whole number")


def _read_number(value: Any, _: tuple[Any, ...], place: str) -> float:  # noqa: ANN401
    # What is no finite number is refused when it is written, as everywhere in a report.
    is_number = isinstance(value, float) or (is_whole_number(value) and abs(value) <= LARGEST)
    return _checked(is_number, value, place, "a number")


def _read_limited(value: Any, arguments: tuple[Any, ...], place: str) -> Any:  # noqa: ANN401
    kind, limits = arguments
    number = _read(kind, value, place)
    within = not is_finite_number(number) or limits.least <= number <= limits.most
    return _checked(within, value, place, f"a number from {limits.least:g} to {limits.most:g}")


def _read_choice(value: Any, arguments: tuple[Any, ...], place: str) -> str:  # noqa: ANN401
    return _checked(value in arguments, value, place, f"one of {', '.join(arguments)}")


def _read_tuple(value: Any, arguments: tuple[Any, ...], place: str) -> tuple[Any, ...]:  # noqa: ANN401
    _checked(isinstance(value, list | tuple), value, place, "a list")
    if arguments[-1] is ...:
        arguments = (arguments[0],) * len(value)
    _checked(len(value) == len(arguments), value, place, f"a list of {len(arguments)}")
    return tuple(
        _read(kind, item, f"{place}[{index}]") for index, (kind, item) in enumerate(zip(arguments, value, strict=True))
    )


def _read_mapping(value: Any, arguments: tuple[Any, ...], place: str) -> dict[str, Any]:  # noqa: ANN401
    is_object = isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
    _checked(is_object, value, place, "an object")
    return {name: _read(arguments[1], item, f"{place}.{name}") for name, item in value.items()}


def _read_array(value: Any, _: tuple[Any, ...], place: str) -> np.ndarray:  # noqa: ANN401
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.array(math.nan)
    _checked(array.ndim > 0 and bool(np.isfinite(array).all()), value, place, "lists of numbers, all of one shape,")
    return array


def _read_anything(value: Any, _: tuple[Any, ...], place: str, depth: int = 0) -> Any:  # noqa: ANN401
    if depth > MAX_DEPTH:
        raise InputError(f"{place}: nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        return {str(name): _read_anything(item, (), place, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_read_anything(item, (), place, depth + 1) for item in value]
    return value


def _checked(is_right: bool, value: Any, place: str, expected: str) -> Any:  # noqa: ANN401
    if not is_right:
        raise InputError(f"{place}: {expected} is expected, not {_told(value)}")
    return value


def _told(value: Any) -> str:  # noqa: ANN401
    """A value in an error message."""
    return f"{value!r:.40}" if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"


_READERS: dict[Any, Callable[[Any, tuple[Any, ...], str], Any]] = {
    str: _read_text,
    int: _read_whole,
    float: _read_number,
    Any: _read_anything,
    np.ndarray: _read_array,
    tuple: _read_tuple,
    Mapping: _read_mapping,
    Literal: _read_choice,
    Annotated: _read_limited,
}
