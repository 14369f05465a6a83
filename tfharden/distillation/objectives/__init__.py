"""Objectives of robust distillation, one a file, and their names."""

from typing import Any

from tfharden._deprecation import renamed_names
from tfharden._registry import Registry
from tfharden.distillation.objectives.adaad import AdaAD
from tfharden.distillation.objectives.ard import ARD
from tfharden.distillation.objectives.base import DistillationObjective
from tfharden.distillation.objectives.iad import IAD
from tfharden.distillation.objectives.rslad import RSLAD
from tfharden.distillation.teaching_step import Outputs, TeachingStep

KNOWN: Registry[type[DistillationObjective]] = Registry(
    "objective of distillation", {"ard": ARD, "rslad": RSLAD, "iad": IAD, "adaad": AdaAD}
)
register = KNOWN.register


def get(name: str, *arguments: Any, **settings: Any) -> DistillationObjective:  # noqa: ANN401
    """The objective of that name.

    Raises:
        InputError: an unknown name (the message lists the known ones), or settings that it refuses.
    """
    return KNOWN.find(name)(*arguments, **settings)


__getattr__ = renamed_names(__name__, {"BY_NAME": "KNOWN", "Answers": "Outputs", "Lesson": "TeachingStep"}, globals())

__all__ = [
    "ARD",
    "IAD",
    "KNOWN",
    "RSLAD",
    "AdaAD",
    "DistillationObjective",
    "Outputs",
    "TeachingStep",
    "get",
    "register",
]
