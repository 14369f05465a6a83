"""Checks of a manifest that comes from outside."""

import re
from collections.abc import Callable, Collection
from typing import Any

from tfharden.errors import InputError

MAX_BYTES = 2**20

_Check = Callable[[Any], bool]


def check_manifest(content: dict[str, Any], names: Collection[str]) -> None:
    """Refuses what isn't a manifest.

    Args:
        content: the JSON object, without its schema.
        names: of a manifest's fields.

    Raises:
        InputError: a field is missing, unknown, or of another kind than a manifest's.
    """
    for problem, some in (("lacks", set(names) - set(content)), ("has an unknown", set(content) - set(names))):
        if some:
            raise InputError(f"it {problem} {', '.join(sorted(some))[:200]}")
    for name, value in content.items():
        if not _CHECKS[name](value):
            raise InputError(f"{name} isn't what a manifest has there: {str(value)[:100]!r}")


def _text(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, str)


def _hash(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{64}", value))


def _flag(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, bool)


def _whole(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, int) and not isinstance(value, bool)


def _count(value: Any) -> bool:  # noqa: ANN401
    return _whole(value) and value >= 0


def _number(value: Any) -> bool:  # noqa: ANN401
    return _whole(value) or isinstance(value, float)


def _positive(value: Any) -> bool:  # noqa: ANN401
    return _number(value) and value >= 0


def _share(value: Any) -> bool:  # noqa: ANN401
    return _positive(value) and value <= 1


def _perhaps(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


def _list(check: _Check) -> _Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _map(check: _Check) -> _Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _object(**checks: _Check) -> _Check:
    return lambda value: (
        isinstance(value, dict)
        and set(value) == set(checks)
        and all(check(value[name]) for name, check in checks.items())
    )


_SPEC = _object(name=_text, shape=_list(_count), dtype=_text, scale=_positive, zero_point=_whole)
_CHECKS: dict[str, _Check] = {
    "sha256": _hash,
    "bytes": _count,
    "gzip_bytes": _count,
    "recipe": _text,
    "bounds": lambda value: _list(_number)(value) and len(value) == 2 and value[0] < value[1],  # noqa: PLR2004
    "per_channel_dense": _perhaps(_flag),
    "dynamic_batch": _flag,
    "operators": _map(_count),
    "dtypes": _map(_count),
    "input": _SPEC,
    "output": _SPEC,
    "parameters": _count,
    "multiply_adds": _count,
    "source": _object(name=_text, sha256=_hash),
    "calibration": _perhaps(_object(sha256=_hash, examples=_count)),
    "agreement": _share,
    "largest_error": _positive,
    "evaluation": _perhaps(
        _object(examples=_count, sha256=_hash, accuracy=_share, source_accuracy=_share, agreement=_share)
    ),
    "latency": _object(seconds=_positive, threads=_count, rounds=_count, images=_count, kernels=_text),
    "versions": _map(_text),
    "arena_bytes": _perhaps(_count),
}
