"""Attacks by name: `pgd`, with a target for each runner-up `pgd-t`, on the mean of a randomised model `eot-pgd`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfharden._deprecation import renamed_names
from tfharden._registry import Registry
from tfharden.attacks.composite.auto_attack import AutoAttack
from tfharden.attacks.composite.eot import EoT
from tfharden.attacks.composite.multi_targeted import MultiTargeted
from tfharden.attacks.core.attack import Attack
from tfharden.attacks.decision.hop_skip_jump import HopSkipJump
from tfharden.attacks.gradient.apgd import APGD, APGDDLR
from tfharden.attacks.gradient.bim import BIM
from tfharden.attacks.gradient.fgsm import FGSM
from tfharden.attacks.gradient.mi_fgsm import MIFGSM
from tfharden.attacks.gradient.pgd import PGD, MarginPGD
from tfharden.attacks.minimum_norm.carlini_wagner import CarliniWagner
from tfharden.attacks.minimum_norm.deepfool import DeepFool
from tfharden.attacks.minimum_norm.fab import FAB
from tfharden.attacks.minimum_norm.jsma import JSMA
from tfharden.attacks.minimum_norm.lbfgs import LBFGS
from tfharden.attacks.score.noise import Noise
from tfharden.attacks.score.spsa import SPSA
from tfharden.attacks.score.square import Square
from tfharden.attacks.universal import Universal
from tfharden.errors import InputError
from tfharden.threats import Threat

AVERAGED, EACH_TARGET = "eot-", "-t"

KNOWN: Registry[type[Attack]] = Registry(
    "attack",
    {
        attack.name: attack
        for attack in (
            *(FGSM, BIM, PGD, MarginPGD, MIFGSM, APGD, APGDDLR),
            *(DeepFool, FAB, CarliniWagner, LBFGS, JSMA),
            *(Square, SPSA, HopSkipJump, Noise, Universal, AutoAttack),
        )
    },
)
register = KNOWN.register


def naming() -> str:
    """The names that `get` knows, in words."""
    return f"{', '.join(KNOWN)}; NAME{EACH_TARGET} aims at each runner-up class, {AVERAGED}NAME averages gradients"


def get(name: str, threat: Threat, **settings: object) -> Attack:
    """The attack of that name; `settings` are its constructor's arguments.

    Raises:
        InputError: an unknown name (the message lists the known ones), or values that the attack refuses.
    """
    if not is_known(name):
        raise InputError(f"unknown attack {name!r}: known are {naming()}")
    attack = KNOWN[_base(name)](threat, **settings)  # type: ignore[call-arg]
    if name.startswith(AVERAGED):
        attack = EoT(attack)  # type: ignore[arg-type]
    return MultiTargeted(attack) if name.endswith(EACH_TARGET) else attack


def fitting(name: str, threat: Threat, settings: Mapping[str, Any]) -> Attack:
    """The attack of that name, with those of the settings that it has.

    Restarts go to attacks that start at random only, and minimum-norm attacks keep the steps that they need.

    Raises:
        InputError: as `get` does.
    """
    return get(name, threat, **{key: value for key, value in settings.items() if takes(name, key)})


def takes(name: str, setting: str) -> bool:
    """Whether `fitting` gives this setting to the attack of that name."""
    kind = KNOWN.get(_base(name))
    if kind is None or setting not in {field.name for field in dataclasses.fields(kind)}:
        return False
    return {"restarts": kind.random_start, "steps": not kind.minimises}.get(setting, True)


def is_known(name: str) -> bool:
    """Whether there is an attack of that name."""
    return _base(name) in KNOWN


def _base(name: str) -> str:
    return name.removeprefix(AVERAGED).removesuffix(EACH_TARGET)


__getattr__ = renamed_names(__name__, {"BY_NAME": "KNOWN"}, globals())
