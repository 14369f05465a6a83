"""Names and numbers as a report and its checks write them."""

import math
from collections.abc import Sequence
from typing import Any

KILOBYTE = 1024
MISSING = "–"


def distinct(names: Sequence[str]) -> list[str]:
    """The names, each after its first use with a number."""
    return [
        name if name not in names[:index] else f"{name} #{names[:index].count(name) + 1}"
        for index, name in enumerate(names)
    ]


def percent(ratio: float | None) -> str:
    """A ratio in percent, to one decimal."""
    return MISSING if ratio is None else f"{100 * ratio:.1f}"


def exact_percent(ratio: float) -> str:
    """A ratio in percent with three significant digits, so that a small one does not look like 0."""
    return f"{100 * ratio:.3g}%"


def interval(bounds: Sequence[float]) -> str:
    """An interval of ratios, in percent."""
    return "[{}, {}]".format(*map(percent, bounds))


def kilobytes(size: int | None) -> str:
    """Bytes in units of 1,024."""
    return MISSING if size is None else f"{size / KILOBYTE:,.1f}"


def count(number: float | None) -> str:
    """A whole number with its thousands marked."""
    return MISSING if number is None else f"{number:,.0f}"


def decimal(number: float | None) -> str:
    """A number to one decimal."""
    return MISSING if number is None else f"{number:,.1f}"


def short(value: Any) -> str:  # noqa: ANN401
    """A number to four digits, also within a list; anything else as it is."""
    if value is None or value == math.inf:
        return MISSING
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(short, value))}]"
    return f"{value:.4g}" if isinstance(value, float) and math.isfinite(value) else str(value)
