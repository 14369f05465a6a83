"""Attacks, one idea a file, and their names."""

from tfharden.attacks.apgd import APGD, APGDDLR
from tfharden.attacks.ascent import ascend
from tfharden.attacks.base import Attack, AttackResult
from tfharden.attacks.bim import BIM
from tfharden.attacks.eot import EoT
from tfharden.attacks.fgsm import FGSM
from tfharden.attacks.gradient import GradientAttack
from tfharden.attacks.mi_fgsm import MIFGSM
from tfharden.attacks.minimum_norm import MinimumNormAttack
from tfharden.attacks.pgd import PGD, MarginPGD
from tfharden.attacks.registry import BY_NAME, KNOWN, fitting, get, is_known
from tfharden.attacks.runner_ups import RunnerUps
from tfharden.attacks.square import Square
from tfharden.attacks.transfer import Transfer

__all__ = [
    "APGD",
    "APGDDLR",
    "BIM",
    "BY_NAME",
    "FGSM",
    "KNOWN",
    "MIFGSM",
    "PGD",
    "Attack",
    "AttackResult",
    "EoT",
    "GradientAttack",
    "MarginPGD",
    "MinimumNormAttack",
    "RunnerUps",
    "Square",
    "Transfer",
    "ascend",
    "fitting",
    "get",
    "is_known",
]
