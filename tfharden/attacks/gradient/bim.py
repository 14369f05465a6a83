"""Basic iterative method."""

import dataclasses
from typing import Self

import tensorflow as tf

from tfharden.attacks.gradient.attack import GradientAttack
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class BIM(GradientAttack):
    """FGSM in small steps from the clean image, projected after each (Kurakin et al. 2017, arXiv:1607.02533).

    Args:
        threat: ball and box.
        steps: gradients an example.
        step_size: length of a step; 2.5 * epsilon / steps by default, so that the ball can be crossed and left again.
    """

    steps: int = 10
    step_size: float | None = None

    name = "bim"
    rule_fields = ("step_size",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_number("step_size", above=0, optional=True)

    def scaled(self, share: float | tf.Tensor) -> Self:
        """As for every attack; a step of a given size is scaled alike."""
        scaled = super().scaled(share)
        if self.step_size is not None:
            object.__setattr__(scaled, "step_size", share * self.step_size)
        return scaled

    @property
    def resolved_step_size(self) -> float:  # noqa: D102
        return 2.5 * self.threat.epsilon / self.steps if self.step_size is None else self.step_size
