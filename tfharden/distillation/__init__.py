"""Distillation: small students of large teachers."""

from tfharden._deprecation import renamed_names
from tfharden.distillation import losses, objectives
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
from tfharden.distillation.teacher_transfer import Transferability, transferability
from tfharden.distillation.teachers import LabelMap, ensemble
from tfharden.distillation.teachers.cached import CachedTeacher

__getattr__ = renamed_names(__name__, {"Taught": "CachedTeacher"}, globals())

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
    "losses",
    "objectives",
    "transferability",
]
