"""Methods of robust distillation, one a file, and their names."""

from tfharden.distillation.objectives.adaad import AdaAD
from tfharden.distillation.objectives.ard import ARD
from tfharden.distillation.objectives.base import Answers, DistillationObjective, Lesson
from tfharden.distillation.objectives.iad import IAD
from tfharden.distillation.objectives.rslad import RSLAD

BY_NAME: dict[str, type[DistillationObjective]] = {"ard": ARD, "rslad": RSLAD, "iad": IAD, "adaad": AdaAD}

__all__ = ["ARD", "BY_NAME", "IAD", "RSLAD", "AdaAD", "Answers", "DistillationObjective", "Lesson"]
