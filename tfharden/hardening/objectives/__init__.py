"""Objectives of adversarial training, one a file, and their names."""

from typing import Any

from tfharden._deprecation import renamed_names
from tfharden._registry import Registry
from tfharden.hardening.objectives.base import Forward, Objective, on_both
from tfharden.hardening.objectives.fast import Fast
from tfharden.hardening.objectives.fixed_sources import FixedSources
from tfharden.hardening.objectives.free import Free
from tfharden.hardening.objectives.goodfellow import Goodfellow
from tfharden.hardening.objectives.madry import Madry
from tfharden.hardening.objectives.mart import MART
from tfharden.hardening.objectives.n_fgsm import NFGSM
from tfharden.hardening.objectives.trades import TRADES
from tfharden.hardening.trainer import Batch, Outcome, Trainer

KNOWN: Registry[type[Objective]] = Registry(
    "objective",
    {
        "madry": Madry,
        "goodfellow": Goodfellow,
        "fast": Fast,
        "n-fgsm": NFGSM,
        "free": Free,
        "trades": TRADES,
        "mart": MART,
        "fixed-sources": FixedSources,
    },
)
register = KNOWN.register


def get(name: str, *arguments: Any, **settings: Any) -> Objective:  # noqa: ANN401
    """The objective of that name.

    Raises:
        InputError: an unknown name (the message lists the known ones), or settings that it refuses.
    """
    return KNOWN.find(name)(*arguments, **settings)


__getattr__ = renamed_names(__name__, {"BY_NAME": "KNOWN"}, globals())

__all__ = [
    "KNOWN",
    "MART",
    "NFGSM",
    "TRADES",
    "Batch",
    "Fast",
    "FixedSources",
    "Forward",
    "Free",
    "Goodfellow",
    "Madry",
    "Objective",
    "Outcome",
    "Trainer",
    "get",
    "on_both",
    "register",
]
