"""Keras image classifiers hardened, made small without losing the hardening, and attacked as the file that ships.

    import tfharden as th

    threat = th.Linf(0.15)
    robust = th.RobustModel(model, attack=th.attacks.PGD(threat, steps=7))
    robust.compile("adam", metrics=["accuracy"])
    robust.fit(x, y, epochs=40)

Names are imported when they are first used, since TensorFlow takes seconds to load. `__init__.pyi` lists them.
"""

from typing import Any

import lazy_loader as lazy

from tfharden import _late_imports
from tfharden._deprecation import warn_renamed

__version__ = "0.1.0"
_RENAMED = {"Taught": "CachedTeacher"}
_present_name, __dir__, __all__ = lazy.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _RENAMED:
        warn_renamed(f"tfharden.{name}", f"tfharden.{_RENAMED[name]}")
        name = _RENAMED[name]
    return _present_name(name)


def _import_saved_layers() -> None:
    import tfharden.compression.fake_quantization  # noqa: PLC0415
    import tfharden.distillation.teachers  # noqa: F401, PLC0415


def _import_fooling() -> Any:  # noqa: ANN401
    import tfharden.evaluation.probes.fooling  # noqa: PLC0415

    return tfharden.evaluation.probes.fooling


_late_imports.provide("saved layers", _import_saved_layers)
_late_imports.provide("fooling", _import_fooling)
