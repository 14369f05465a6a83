"""Distillation losses, one a file, and their names."""

import inspect
from typing import Any

import keras

from tfharden._registry import Registry
from tfharden.distillation.losses.attention import AttentionTransfer
from tfharden.distillation.losses.base import PerExampleLoss, adapter, layer_names, value
from tfharden.distillation.losses.decoupled import DecoupledTarget
from tfharden.distillation.losses.feature import Feature
from tfharden.distillation.losses.relational import RelationalAngle, RelationalDistance
from tfharden.distillation.losses.similarity import SimilarityPreserving
from tfharden.distillation.losses.soft_target import SoftTarget

KNOWN: Registry[type[keras.distillation.DistillationLoss]] = Registry(
    "distillation loss",
    {
        "soft-target": SoftTarget,
        "decoupled-target": DecoupledTarget,
        "feature": Feature,
        "attention": AttentionTransfer,
        "relational-distance": RelationalDistance,
        "relational-angle": RelationalAngle,
        "similarity": SimilarityPreserving,
    },
)
register = KNOWN.register


def get(name: str, *arguments: Any, **settings: Any) -> keras.distillation.DistillationLoss:  # noqa: ANN401
    """The distillation loss of that name.

    Raises:
        InputError: an unknown name (the message lists the known ones), or settings that it refuses.

    Example:
        get("feature", "conv3", "conv3", weight=5.0)
    """
    return KNOWN.find(name)(*arguments, **settings)


def of_logits() -> list[str]:
    """Names of the losses that compare the classifiers' logits where no layers are named."""
    return [name for name, kind in KNOWN.items() if _layer_argument(kind) is not inspect.Parameter.empty]


def of_features() -> list[str]:
    """Names of the losses that compare the outputs of a pair of layers, whatever these hold."""
    return [
        name
        for name, kind in KNOWN.items()
        if _layer_argument(kind) is not _NO_ARGUMENT and not getattr(kind, "on_logits", False)
    ]


_NO_ARGUMENT = object()


def _layer_argument(kind: type) -> object:
    """The default of `student_layer_name`, `Parameter.empty` where it has to be given."""
    argument = inspect.signature(kind).parameters.get("student_layer_name")
    return _NO_ARGUMENT if argument is None else argument.default


__all__ = [
    "KNOWN",
    "AttentionTransfer",
    "DecoupledTarget",
    "Feature",
    "PerExampleLoss",
    "RelationalAngle",
    "RelationalDistance",
    "SimilarityPreserving",
    "SoftTarget",
    "adapter",
    "get",
    "layer_names",
    "of_features",
    "of_logits",
    "register",
    "value",
]
