"""Attacks, one algorithm a file, and their names."""

from typing import Any

from tfharden._deprecation import warn_renamed
from tfharden._late_imports import late_import
from tfharden.attacks.composite.auto_attack import AutoAttack
from tfharden.attacks.composite.eot import EoT
from tfharden.attacks.composite.multi_targeted import MultiTargeted
from tfharden.attacks.composite.transfer import Transfer
from tfharden.attacks.core.attack import Attack
from tfharden.attacks.core.result import AttackResult
from tfharden.attacks.decision.hop_skip_jump import HopSkipJump
from tfharden.attacks.diva import DIVA
from tfharden.attacks.gradient.apgd import APGD, APGDDLR
from tfharden.attacks.gradient.ascent import ascend
from tfharden.attacks.gradient.attack import GradientAttack
from tfharden.attacks.gradient.bim import BIM
from tfharden.attacks.gradient.fgsm import FGSM
from tfharden.attacks.gradient.mi_fgsm import MIFGSM
from tfharden.attacks.gradient.pgd import PGD, MarginPGD
from tfharden.attacks.minimum_norm.attack import MinimumNormAttack
from tfharden.attacks.minimum_norm.carlini_wagner import CarliniWagner
from tfharden.attacks.minimum_norm.deepfool import DeepFool
from tfharden.attacks.minimum_norm.fab import FAB
from tfharden.attacks.minimum_norm.jsma import JSMA
from tfharden.attacks.minimum_norm.lbfgs import LBFGS
from tfharden.attacks.registry import KNOWN, fitting, get, is_known, naming, register, takes
from tfharden.attacks.score.noise import Noise
from tfharden.attacks.score.spsa import SPSA
from tfharden.attacks.score.square import Square
from tfharden.attacks.universal import Universal

__all__ = [
    "APGD",
    "APGDDLR",
    "BIM",
    "DIVA",
    "FAB",
    "FGSM",
    "JSMA",
    "KNOWN",
    "LBFGS",
    "MIFGSM",
    "PGD",
    "SPSA",
    "Attack",
    "AttackResult",
    "AutoAttack",
    "CarliniWagner",
    "DeepFool",
    "EoT",
    "GradientAttack",
    "HopSkipJump",
    "MarginPGD",
    "MinimumNormAttack",
    "MultiTargeted",
    "Noise",
    "Square",
    "Transfer",
    "Universal",
    "ascend",
    "fitting",
    "get",
    "is_known",
    "naming",
    "register",
    "takes",
]


_RENAMED = {"RunnerUps": "MultiTargeted", "BY_NAME": "KNOWN"}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _RENAMED:
        warn_renamed(f"{__name__}.{name}", f"{__name__}.{_RENAMED[name]}")
        return globals()[_RENAMED[name]]
    if name in ("FoolingImages", "fool_by_evolution", "fool_by_gradient"):
        fooling = late_import("fooling")
        warn_renamed(f"{__name__}.{name}", f"{fooling.__name__}.{name}")
        return getattr(fooling, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
