"""Attacks, one algorithm a file, and their names."""

from typing import Any

from tfharden._deprecation import warn_renamed
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
from tfharden.attacks.registry import BY_NAME, KNOWN, fitting, get, is_known, takes
from tfharden.attacks.score.noise import Noise
from tfharden.attacks.score.spsa import SPSA
from tfharden.attacks.score.square import Square
from tfharden.attacks.universal import Universal

__all__ = [
    "APGD",
    "APGDDLR",
    "BIM",
    "BY_NAME",
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
    "takes",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name == "RunnerUps":
        warn_renamed(f"{__name__}.RunnerUps", f"{__name__}.MultiTargeted")
        return MultiTargeted
    if name in ("FoolingImages", "fool_by_evolution", "fool_by_gradient"):
        from tfharden.evaluation.probes import fooling  # noqa: PLC0415 - evaluation lies above this package

        warn_renamed(f"{__name__}.{name}", f"{fooling.__name__}.{name}")
        return getattr(fooling, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
