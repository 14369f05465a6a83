"""Results of models beside the one that they were made from."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfharden.errors import InputError
from tfharden.evaluation.results.record import Interval, Positive, Record, Share


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class DifferentialAttack(Record):
    """One attack at one epsilon. Shares are of all images.

    Attributes:
        attack: its name.
        epsilon: the longest perturbation.
        robust_accuracy: share that stays right when the model is attacked.
        source_robust_accuracy: share that stays right when the source is attacked; this and the next two are None for
            attacks on both at once.
        from_source: share that the model gets right of the examples made on the source.
        to_source: share that the source gets right of the examples made on the model.
        evasive_rate: share of the examples made on the model that it gets wrong and the source right.
        evasive_interval: 95% interval of it.
        kernels: by the names of the other kernels, the share of the examples that they put into another class.
        parameters: the attack's settings, in plain values.
    """

    attack: str
    epsilon: Positive
    robust_accuracy: Share
    source_robust_accuracy: Share | None
    from_source: Share | None
    to_source: Share | None
    evasive_rate: Share
    evasive_interval: Interval
    kernels: Mapping[str, Share]
    parameters: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ComparedModel(Record):
    """One model beside its source.

    Attributes:
        name: the model's name.
        accuracy: share of the images that it gets right without an attack.
        source_accuracy: that of the source, of the images as the model receives them.
        evasive_rate: share that it gets wrong and the source right, without an attack.
        evasive_interval: 95% interval of it.
        kernels: by the names of the other kernels, the share of the images that they put into another class.
        attacks: one entry an attack and epsilon.
    """

    name: str
    accuracy: Share
    source_accuracy: Share
    evasive_rate: Share
    evasive_interval: Interval
    kernels: Mapping[str, Share]
    attacks: tuple[DifferentialAttack, ...]

    def check(self, place: str) -> None:  # noqa: D102
        if any(attack.kernels.keys() != self.kernels.keys() for attack in self.attacks):
            raise InputError(f"{place}: the attacks are expected to have the model's kernels")

    @property
    def at_largest_epsilon(self) -> list[DifferentialAttack]:
        """The attacks at the largest epsilon."""
        largest = max((attack.epsilon for attack in self.attacks), default=0.0)
        return [attack for attack in self.attacks if attack.epsilon == largest]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class DifferentialResult(Record):
    """Models beside the one that they were made from.

    Attributes:
        source: name of the model that the others were made from.
        models: those that are compared with it.
    """

    source: str
    models: tuple[ComparedModel, ...]
