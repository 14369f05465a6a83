"""Distillation losses: what a student is taught, one a file."""

from tfharden.distillation.losses.attention import AttentionTransfer
from tfharden.distillation.losses.base import PerExampleLoss, adapter, layer_names, value
from tfharden.distillation.losses.decoupled import DecoupledTarget
from tfharden.distillation.losses.feature import Feature
from tfharden.distillation.losses.relational import RelationalAngle, RelationalDistance
from tfharden.distillation.losses.similarity import SimilarityPreserving
from tfharden.distillation.losses.soft_target import SoftTarget

__all__ = [
    "AttentionTransfer",
    "DecoupledTarget",
    "Feature",
    "PerExampleLoss",
    "RelationalAngle",
    "RelationalDistance",
    "SimilarityPreserving",
    "SoftTarget",
    "adapter",
    "layer_names",
    "value",
]
