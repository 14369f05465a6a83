"""Harden image classifiers, make them small without losing the hardening, and attack the file that ships.

    import tfharden as th

    threat = th.Linf(0.15)
    robust = th.RobustModel(model, attack=th.attacks.PGD(threat, steps=7))
    robust.compile("adam", metrics=["accuracy"])
    robust.fit(x, y, epochs=40)

Names are imported when they are first used, since TensorFlow takes seconds to load.
"""

import importlib
from typing import Any

from tfharden import _saved_layers

_HOMES = {
    "_native": ("keep_freed_memory",),
    "classifiers": (
        "CallableClassifier",
        "Classifier",
        "KerasClassifier",
        "TFLiteClassifier",
        "as_classifier",
        "load_model",
    ),
    "distillation": (
        "AttentionTransfer",
        "DecoupledTarget",
        "Distiller",
        "Feature",
        "LabelMap",
        "RelationalAngle",
        "RelationalDistance",
        "SimilarityPreserving",
        "SoftTarget",
        "CachedTeacher",
        "ensemble",
        "transferability",
    ),
    "errors": ("InputError",),
    "evaluation": ("Report", "evaluate"),
    "hardening": ("BestEpoch", "CatastrophicOverfitting", "RobustModel", "WeightPerturbation", "objectives"),
    "threats": ("L0", "L1", "L2", "Linf", "Threat"),
}
_MODULES = ("attacks", "compression", "data", "export", "losses", "models", "tflite", *_HOMES)
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME_OF, *_MODULES])  # noqa: PLE0605


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"tfharden.{_HOME_OF[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"tfharden.{name}")
    raise AttributeError(f"module 'tfharden' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]


def _import_saved_layers() -> None:
    import tfharden.compression.fake_quantization  # noqa: PLC0415
    import tfharden.distillation.teachers  # noqa: F401, PLC0415


_saved_layers.provide(_import_saved_layers)
