"""Basic iterative method."""

import dataclasses
import math
import numbers
from typing import Self

import tensorflow as tf

from tfharden.attacks.gradient.attack import GradientAttack
from tfharden.errors import InputError
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class BIM(GradientAttack):
    """FGSM in small steps from the clean image, projected after each (Kurakin, Goodfellow, Bengio 2017).

    Args:
        threat: ball and box.
        steps: gradients an example.
        step_size: length of a step; 2.5 * epsilon / steps by default, so that the ball can be crossed and left again.
    """

    steps: int = 10
    step_size: float | None = None

    name = "bim"

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.step_size
        if size is not None and not (isinstance(size, numbers.Real) and math.isfinite(size) and size > 0):
            raise InputError(f"{self.name}: step_size={size!r} has to be a number > 0, or None")

    def scaled(self, share: float | tf.Tensor) -> Self:
        """As for every attack; a step of a given size is scaled alike."""
        scaled = super().scaled(share)
        if self.step_size is not None:
            object.__setattr__(scaled, "step_size", share * self.step_size)
        return scaled

    @property
    def resolved_step_size(self) -> float:  # noqa: D102
        return 2.5 * self.threat.epsilon / self.steps if self.step_size is None else self.step_size
