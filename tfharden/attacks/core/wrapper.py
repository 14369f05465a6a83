"""Attacks that are made of another one."""

import dataclasses
from typing import Self

from tfharden.attacks.core.attack import Attack
from tfharden.threats import Threat


@dataclasses.dataclass(frozen=True)
class Wrapper(Attack):
    """An attack that runs `attack` in its own way, under the same threat.

    Args:
        attack: what is run.
    """

    attack: Attack

    @property
    def threat(self) -> Threat:  # noqa: D102
        return self.attack.threat

    @property
    def name(self) -> str:  # noqa: D102
        return self.attack.name

    @property
    def access(self) -> str:  # noqa: D102
        return self.attack.access

    @property
    def kind(self) -> str:  # noqa: D102
        return self.attack.kind

    @property
    def norms(self) -> tuple[str, ...]:  # noqa: D102
        return self.attack.norms

    @property
    def targetable(self) -> bool:  # noqa: D102
        return self.attack.targetable

    @property
    def minimises(self) -> bool:  # noqa: D102
        return self.attack.minimises

    def with_threat(self, threat: Threat) -> Self:  # noqa: D102
        return dataclasses.replace(self, attack=self.attack.with_threat(threat))
