"""Attacks that are made of another one."""

import dataclasses
from typing import Any, Self

from tfharden.attacks.core.attack import Attack
from tfharden.threats import Threat

# A property, typed so that it may stand where the base has a class variable.
computed: Any = property


@dataclasses.dataclass(frozen=True)
class Wrapper(Attack):
    """An attack that runs `attack` in its own way, under the same threat.

    Args:
        attack: what is run.
    """

    attack: Attack

    threat = computed(lambda self: self.attack.threat)
    name = computed(lambda self: self.attack.name)
    access = computed(lambda self: self.attack.access)
    kind = computed(lambda self: self.attack.kind)
    norms = computed(lambda self: self.attack.norms)
    targetable = computed(lambda self: self.attack.targetable)
    minimises = computed(lambda self: self.attack.minimises)

    def with_threat(self, threat: Threat) -> Self:  # noqa: D102
        return dataclasses.replace(self, attack=self.attack.with_threat(threat))
