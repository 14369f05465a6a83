"""JSON from outside: one object of bounded size and depth, with finite numbers; anything else is refused."""

import json
import math
from typing import Any, NoReturn

from tfharden.errors import InputError


def parse(content: bytes, most_bytes: int) -> dict[str, Any]:
    """The JSON object that `content` holds, in UTF-8.

    Raises:
        InputError: more bytes than `most_bytes`, no JSON, no object, NaN or infinity, a name twice, absurdly deep.
    """
    if len(content) > most_bytes:
        raise InputError(f"{len(content)} bytes of JSON are more than the {most_bytes} that make sense here")
    try:
        value = json.loads(
            content.decode("utf-8"), parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_object
        )
    except RecursionError:
        raise InputError("not usable JSON: nested too deeply") from None
    except ValueError as error:  # of JSON, of UTF-8, of our own
        raise InputError(f"not usable JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"not usable JSON: a {type(value).__name__} where an object is expected")
    return value


def dump(value: dict[str, Any], indent: int | None = None) -> str:
    """The object as JSON; without an indent as short as it gets.

    Raises:
        ValueError: it holds NaN or infinity, which JSON doesn't know.
    """
    return json.dumps(value, allow_nan=False, indent=indent, separators=None if indent else (",", ":"))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse("a number beyond floating point")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an object has a name twice")
    return made
