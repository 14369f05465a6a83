"""What adversarial training minimises, one method a file, and their names."""

from typing import Any

from tfharden.errors import InputError
from tfharden.hardening.objectives.base import Forward, Objective, Outcome
from tfharden.hardening.objectives.fast import NFGSM, Fast
from tfharden.hardening.objectives.fixed_sources import FixedSources
from tfharden.hardening.objectives.free import Free
from tfharden.hardening.objectives.goodfellow import Goodfellow
from tfharden.hardening.objectives.madry import Madry
from tfharden.hardening.objectives.mart import MART
from tfharden.hardening.objectives.trades import TRADES

BY_NAME: dict[str, type[Objective]] = {
    "madry": Madry,
    "goodfellow": Goodfellow,
    "fast": Fast,
    "n-fgsm": NFGSM,
    "free": Free,
    "trades": TRADES,
    "mart": MART,
    "fixed-sources": FixedSources,
}


def get(name: str, *arguments: Any, **settings: Any) -> Objective:  # noqa: ANN401
    """The objective of that name.

    Raises:
        InputError: an unknown name (the message lists the known ones), or settings that it refuses.
    """
    if name not in BY_NAME:
        raise InputError(f"unknown objective {name!r}: known are {', '.join(BY_NAME)}")
    return BY_NAME[name](*arguments, **settings)


__all__ = [
    "BY_NAME",
    "MART",
    "NFGSM",
    "TRADES",
    "Fast",
    "FixedSources",
    "Forward",
    "Free",
    "Goodfellow",
    "Madry",
    "Objective",
    "Outcome",
    "get",
]
