"""Teachers made of several models: averages over the same classes, and label maps over classes of different domains.

Importing this package is also what lets Keras load the files that they are saved to.
"""

from tfharden.distillation.teachers.averaging import AverageProbabilities, ensemble
from tfharden.distillation.teachers.label_map import LabelMap

__all__ = ["AverageProbabilities", "LabelMap", "ensemble"]
