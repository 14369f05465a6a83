"""Basic iterative method."""

import dataclasses

from tfharden.attacks.gradient import GradientAttack
from tfharden.configurable import registered


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

    @property
    def stride(self) -> float:  # noqa: D102
        return 2.5 * self.threat.epsilon / self.steps if self.step_size is None else self.step_size
