"""Attacks, one idea a file, and their names."""

from tfharden.attacks.apgd import APGD, APGDDLR
from tfharden.attacks.ascent import ascend
from tfharden.attacks.auto_attack import AutoAttack
from tfharden.attacks.base import Attack, AttackResult
from tfharden.attacks.bim import BIM
from tfharden.attacks.carlini_wagner import CarliniWagner
from tfharden.attacks.deepfool import DeepFool
from tfharden.attacks.diva import DIVA
from tfharden.attacks.eot import EoT
from tfharden.attacks.fab import FAB
from tfharden.attacks.fgsm import FGSM
from tfharden.attacks.fooling import FoolingImages, fool_by_evolution, fool_by_gradient
from tfharden.attacks.gradient import GradientAttack
from tfharden.attacks.hop_skip_jump import HopSkipJump
from tfharden.attacks.jsma import JSMA
from tfharden.attacks.lbfgs import LBFGS
from tfharden.attacks.mi_fgsm import MIFGSM
from tfharden.attacks.minimum_norm import MinimumNormAttack
from tfharden.attacks.noise import Noise
from tfharden.attacks.pgd import PGD, MarginPGD
from tfharden.attacks.registry import BY_NAME, KNOWN, fitting, get, is_known, takes
from tfharden.attacks.runner_ups import RunnerUps
from tfharden.attacks.spsa import SPSA
from tfharden.attacks.square import Square
from tfharden.attacks.transfer import Transfer
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
    "FoolingImages",
    "GradientAttack",
    "HopSkipJump",
    "MarginPGD",
    "MinimumNormAttack",
    "Noise",
    "RunnerUps",
    "Square",
    "Transfer",
    "Universal",
    "ascend",
    "fitting",
    "fool_by_evolution",
    "fool_by_gradient",
    "get",
    "is_known",
    "takes",
]
