"""Attacks, one idea a file, and their names."""

from tfharden.attacks.ascent import ascend
from tfharden.attacks.base import Attack, AttackResult
from tfharden.attacks.bim import BIM
from tfharden.attacks.fgsm import FGSM
from tfharden.attacks.gradient import GradientAttack
from tfharden.attacks.pgd import PGD, MarginPGD
from tfharden.attacks.square import Square
from tfharden.attacks.transfer import Transfer
from tfharden.errors import InputError
from tfharden.threats import Threat

BY_NAME: dict[str, type[Attack]] = {attack.name: attack for attack in (FGSM, BIM, PGD, MarginPGD, Square)}


def get(name: str, threat: Threat, **settings: object) -> Attack:
    """The attack of that name; `settings` are its constructor's arguments.

    Raises:
        InputError: an unknown name (the message lists the known ones), or values that the attack refuses.
    """
    if name not in BY_NAME:
        raise InputError(f"unknown attack {name!r}: known are {', '.join(BY_NAME)}")
    return BY_NAME[name](threat, **settings)  # type: ignore[call-arg]


__all__ = [
    "BIM",
    "BY_NAME",
    "FGSM",
    "PGD",
    "Attack",
    "AttackResult",
    "GradientAttack",
    "MarginPGD",
    "Square",
    "Transfer",
    "ascend",
    "get",
]
