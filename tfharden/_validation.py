"""Checks of single numbers from outside, each with one clear line. Images and labels: `data/examples.py`."""

import math
import numbers

from tfharden.errors import InputError


def is_whole_number(value: object) -> bool:
    """Whether this is an integer, of Python or NumPy, and no boolean."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_finite_number(value: object) -> bool:
    """Whether this is a real number, of Python or NumPy, neither NaN nor infinite, and no boolean."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def check_whole_number(name: str, value: object, least: int = 1) -> None:
    """Refuses what is not a whole number of at least `least`.

    Raises:
        InputError: it is not.
    """
    if not is_whole_number(value) or value < least:  # type: ignore[operator]
        raise InputError(f"{name}={value!r} has to be a whole number >= {least}")


def check_number(
    name: str,
    value: object,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    optional: bool = False,
) -> None:
    """Refuses what is not a finite number with `least <= value <= most` and `above < value < below`.

    Args:
        name: what the message calls it.
        value: what was given.
        least: smallest value allowed.
        most: largest value allowed.
        above: largest value too small.
        below: smallest value too large.
        optional: whether None is allowed.

    Raises:
        InputError: it is not.
    """
    if value is None and optional:
        return
    if is_finite_number(value) and least <= value <= most and above < value < below:  # type: ignore[operator]
        return
    limits = [(">=", least), (">", above), ("<=", most), ("<", below)]
    told = " and ".join(f"{sign} {limit:g}" for sign, limit in limits if math.isfinite(limit))
    raise InputError(
        f"{name}={value!r} has to be a finite number{' ' if told else ''}{told}{', or None' if optional else ''}"
    )
