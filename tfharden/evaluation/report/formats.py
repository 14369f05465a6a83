"""How a report writes numbers, on the page and in the terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tfharden.evaluation.report.plots import KILOBYTE

TRANSFERRED = "† by transfer: examples made on another model, tried on this one"


def percent(ratio: float | None) -> str:
    """A ratio in percent."""
    return "–" if ratio is None else f"{100 * ratio:.1f}"


def interval(bounds: Sequence[float]) -> str:
    """An interval of ratios, in percent."""
    return "[{:.1f}, {:.1f}]".format(*(100 * bound for bound in bounds))


def kilobytes(size: int | None) -> str:
    """Bytes in units of 1,024."""
    return "–" if size is None else f"{size / KILOBYTE:,.1f}"


def count(number: float | None) -> str:
    """A whole number with its thousands marked."""
    return "–" if number is None else f"{number:,.0f}"


def decimal(number: float | None) -> str:
    """A number to one digit."""
    return "–" if number is None else f"{number:,.1f}"


def short(value: Any) -> str:  # noqa: ANN401
    """A number to four digits, be it within a list; anything else as it is."""
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(short, value))}]"
    is_fraction = isinstance(value, float) and math.isfinite(value)
    return f"{value:.4g}" if is_fraction else str(value)


def mark(attack: Mapping[str, Any]) -> str:
    """A dagger behind what was not found on the model itself."""
    return "†" if attack["access"] == "transfer" else ""
