"""Fields of configuration classes that are flags: type, default, help and check of a flag stand in one place.

@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
epochs: int = integer(40, "Passes over the training data.", least=1)

define(Config)            # before the command line is parsed
config = read(Config)     # afterwards
"""

import dataclasses
import fractions
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from absl import flags

T = TypeVar("T")


def define(kind: type) -> None:
    """Defines the flags of a configuration class and of its parts."""
    for field in dataclasses.fields(kind):
        if "part" in field.metadata:
            define(field.metadata["part"])
            continue
        field.metadata["define"](field.name)
        if field.metadata["check"]:
            flags.register_validator(
                field.name, field.metadata["check"], field.metadata["message"].replace("%s", field.name)
            )


def read(kind: type[T]) -> T:
    """The configuration that the parsed flags describe."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if "part" in field.metadata:
            values[field.name] = read(field.metadata["part"])
        else:
            values[field.name] = field.metadata["convert"](flags.FLAGS[field.name].value)
    return kind(**values)


def parse_number(text: str) -> float:
    """A finite number, given as decimal or as a fraction such as 8/255.

    Raises:
        ValueError: it is none.
    """
    try:
        value = float(fractions.Fraction(text.strip())) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a number such as 0.15 or 8/255")
    return value


def part(kind: type) -> Any:
    """A configuration within a configuration."""
    return dataclasses.field(default_factory=kind, metadata={"part": kind})


def string(
    default: str | None, help: str, check: Callable[[str], bool] | None = None, message: str = "", **options: Any
) -> Any:
    """A text; None stands for none."""
    return _field(flags.DEFINE_string, default, help, check, message, **options)


def strings(help: str, *, required: bool) -> Any:
    """Texts, each by a flag of its own."""
    return _field(flags.DEFINE_multi_string, None, help, required=required)


def words(
    default: Sequence[str],
    help: str,
    check: Callable[[list[str]], bool] | None = None,
    message: str = "",
    convert: Callable[[list[str]], object] = tuple,
) -> Any:
    """Words separated by commas; `convert` makes the field's value of them."""
    return _field(flags.DEFINE_list, list(default), help, check, message, convert)


def choice(default: str | None, names: Sequence[str], help: str, **options: Any) -> Any:
    """One of several names."""
    return _field(
        lambda name, default, help: flags.DEFINE_enum(name, default, list(names), help, **options), default, help
    )


def integer(default: int | None, help: str, *, least: int) -> Any:
    """A whole number of at least `least`."""
    return _field(flags.DEFINE_integer, default, help, lower_bound=least)


def switch(help: str) -> Any:
    """A boolean, off by default."""
    return _field(flags.DEFINE_bool, False, help)


def share(default: float, help: str) -> Any:
    """A decimal from 0 to 1."""
    return _field(flags.DEFINE_float, default, help, lower_bound=0.0, upper_bound=1.0)


def number(default: float, help: str, *, least: float = 0.0, most: float = math.inf) -> Any:
    """A decimal or a fraction within [least, most]."""
    span = f">= {least:g}" if math.isinf(most) else f"in [{least:g}, {most:g}]"
    return _field(
        functools.partial(flags.DEFINE, _NumberParser(), serializer=flags.ArgumentSerializer()),
        default,
        help,
        lambda value: least <= value <= most,
        f"--%s has to be a number {span}",
    )


def _field(
    define: Callable[..., Any],
    default: object,
    help: str,
    check: Callable[[Any], bool] | None = None,
    message: str = "",
    convert: Callable[[Any], Any] = lambda value: tuple(value) if isinstance(value, list) else value,
    **options: Any,
) -> Any:
    return dataclasses.field(
        default=convert(default),
        metadata={
            "define": lambda name: define(name, default, help=help, **options),
            "check": check,
            "message": message,
            "convert": convert,
        },
    )


class _NumberParser(flags.ArgumentParser):
    syntactic_help = "a number such as 0.15 or 8/255"

    def parse(self, argument: str | float) -> float:
        return parse_number(str(argument))

    def flag_type(self) -> str:
        return "number"
