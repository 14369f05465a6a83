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
EMPTY = {"empty": True}
"""Metadata of a field whose None is an empty object in report.json."""
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
        entries = {}
        for name, field in _fields(type(self)).items():
            value = getattr(self, field.name)
            if not (field.metadata.get("omitted") and value is field.default):
                entries[name] = {} if value is None and field.metadata.get("empty") else _plain(value)
        return entries | dict(self.unknown)

    @classmethod
    def from_json(cls, value: object, place: str = "report.json") -> Self:
        """The record that `to_json` wrote.

        Args:
            value: what was read. NumPy numbers and arrays are understood too.
            place: its place in the file, for messages.

        Raises:
            InputError: an entry is missing, or has a type or a value that does not belong there.
        """
        given = _checked(_is_object(value), value, place, "an object")
        fields, hints = _fields(cls), typing.get_type_hints(cls, include_extras=True)
        found = {}
        for name, field in fields.items():
            if name in given:
                item = given[name] or None if field.metadata.get("empty") else given[name]
                found[field.name] = _read(hints[field.name], item, f"{place}: {name}")
            elif field.default is field.default_factory is dataclasses.MISSING:
                raise InputError(f"{place}: {name} is missing")
        unknown = {name: _read(Any, item, f"{place}: {name}") for name, item in given.items() if name not in fields}
        made = cls(**found, unknown=unknown)
        made.check(place)
        return made

    def check(self, place: str) -> None:
        """Refuses, by an `InputError`, entries that do not fit each other."""


def check_lengths(place: str, **lengths: int) -> None:
    """Refuses, by an `InputError`, lists of different lengths."""
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{length} of {name}" for name, length in lengths.items())
        raise InputError(f"{place}: lists of different lengths: {told}")


def _fields(cls: type[Record]) -> dict[str, dataclasses.Field[Any]]:
    """Fields by their names in JSON."""
    return {
        field.metadata.get("key", field.name): field for field in dataclasses.fields(cls) if field.name != "unknown"
    }


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
    if kind in _SCALARS:
        is_right, expected = _SCALARS[kind]
        return _checked(is_right(value), value, place, expected)
    return _READERS[origin or kind](value, arguments, place)


def _is_whole_number(value: object) -> bool:
    return is_whole_number(value) and abs(value) <= LARGEST  # type: ignore[arg-type]


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


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
    _checked(_is_object(value), value, place, "an object")
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
        told = f"{value!r:.40}" if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
        raise InputError(f"{place}: {expected} is expected, not {told}")
    return value


_SCALARS: dict[Any, tuple[Callable[[object], bool], str]] = {
    str: (lambda value: isinstance(value, str), "text"),
    int: (_is_whole_number, "a whole number"),
    # NaN and infinity are refused when a report is written.
    float: (lambda value: isinstance(value, float) or _is_whole_number(value), "a number"),
}
_READERS: dict[Any, Callable[[Any, tuple[Any, ...], str], Any]] = {
    Any: _read_anything,
    np.ndarray: _read_array,
    tuple: _read_tuple,
    Mapping: _read_mapping,
    Literal: _read_choice,
    Annotated: _read_limited,
}
