"""Small students of large teachers."""

from tfharden.distillation import objectives
from tfharden.distillation.cache import Taught
from tfharden.distillation.distiller import Distiller
from tfharden.distillation.losses import Feature, SoftTarget

__all__ = ["Distiller", "Feature", "SoftTarget", "Taught", "objectives"]
