"""Attacks by name: `pgd`, with a target for each runner-up `pgd-t`, on the mean of a randomised model `eot-pgd`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfharden.attacks.apgd import APGD, APGDDLR
from tfharden.attacks.auto_attack import AutoAttack
from tfharden.attacks.base import Attack
from tfharden.attacks.bim import BIM
from tfharden.attacks.carlini_wagner import CarliniWagner
from tfharden.attacks.deepfool import DeepFool
from tfharden.attacks.eot import EoT
from tfharden.attacks.fab import FAB
from tfharden.attacks.fgsm import FGSM
from tfharden.attacks.hop_skip_jump import HopSkipJump
from tfharden.attacks.jsma import JSMA
from tfharden.attacks.lbfgs import LBFGS
from tfharden.attacks.mi_fgsm import MIFGSM
from tfharden.attacks.noise import Noise
from tfharden.attacks.pgd import PGD, MarginPGD
from tfharden.attacks.runner_ups import RunnerUps
from tfharden.attacks.spsa import SPSA
from tfharden.attacks.square import Square
from tfharden.attacks.universal import Universal
from tfharden.errors import InputError
from tfharden.threats import Threat

BY_NAME: dict[str, type[Attack]] = {
    attack.name: attack
    for attack in (
        *(FGSM, BIM, PGD, MarginPGD, MIFGSM, APGD, APGDDLR),
        *(DeepFool, FAB, CarliniWagner, LBFGS, JSMA),
        *(Square, SPSA, HopSkipJump, Noise, Universal, AutoAttack),
    )
}
AVERAGED, EACH_TARGET = "eot-", "-t"
KNOWN = f"{', '.join(BY_NAME)}; NAME{EACH_TARGET} aims at each runner-up class, {AVERAGED}NAME averages gradients"


def get(name: str, threat: Threat, **settings: object) -> Attack:
    """The attack of that name; `settings` are its constructor's arguments.

    Raises:
        InputError: an unknown name (the message lists the known ones), or values that the attack refuses.
    """
    if not is_known(name):
        raise InputError(f"unknown attack {name!r}: known are {KNOWN}")
    attack = BY_NAME[_base(name)](threat, **settings)  # type: ignore[call-arg]
    if name.startswith(AVERAGED):
        attack = EoT(attack)  # type: ignore[arg-type]
    return RunnerUps(attack) if name.endswith(EACH_TARGET) else attack


def fitting(name: str, threat: Threat, settings: Mapping[str, Any]) -> Attack:
    """The attack of that name, with those of the settings that it has.

    Restarts go to attacks that start at random only, and minimum-norm attacks keep the steps that they need.

    Raises:
        InputError: as `get` does.
    """
    return get(name, threat, **{key: value for key, value in settings.items() if takes(name, key)})


def takes(name: str, setting: str) -> bool:
    """Whether `fitting` gives this setting to the attack of that name."""
    kind = BY_NAME.get(_base(name))
    if kind is None or setting not in {field.name for field in dataclasses.fields(kind)}:
        return False
    return {"restarts": kind.random_start, "steps": not kind.minimises}.get(setting, True)


def is_known(name: str) -> bool:
    """Whether there is an attack of that name."""
    return _base(name) in BY_NAME


def _base(name: str) -> str:
    return name.removeprefix(AVERAGED).removesuffix(EACH_TARGET)
