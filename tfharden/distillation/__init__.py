"""Small students of large teachers."""

from tfharden.distillation import objectives
from tfharden.distillation.distiller import Distiller
from tfharden.distillation.losses import (
    AttentionTransfer,
    DecoupledTarget,
    Feature,
    RelationalAngle,
    RelationalDistance,
    SimilarityPreserving,
    SoftTarget,
)
from tfharden.distillation.teachers import LabelMap, ensemble
from tfharden.distillation.teachers.cached import CachedTeacher
from tfharden.distillation.transferability import Transferability, transferability

__all__ = [
    "AttentionTransfer",
    "CachedTeacher",
    "DecoupledTarget",
    "Distiller",
    "Feature",
    "LabelMap",
    "RelationalAngle",
    "RelationalDistance",
    "SimilarityPreserving",
    "SoftTarget",
    "Transferability",
    "ensemble",
    "objectives",
    "transferability",
]
