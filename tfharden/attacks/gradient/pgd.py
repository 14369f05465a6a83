"""Projected gradient descent."""

import dataclasses
from typing import ClassVar, Self

import tensorflow as tf

from tfharden.attacks.gradient.attack import GradientAttack
from tfharden.losses import Loss, margin
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class PGD(GradientAttack):
    """x <- project(x + step_size * steepest(grad J(x))) from random points of the ball, best of several restarts.

    Madry et al. 2018, arXiv:1706.06083. `steepest` is the sign of the gradient in Linf, its direction in L2. The loop
    is `attacks.ascend`, the step rule `SteepestAscent`.

    Args:
        threat: ball and box.
        steps: gradients an example and restart.
        step_size: length of a step; 2.5 * epsilon / steps by default, so that the ball can be crossed and left again.
    """

    steps: int = 40
    step_size: float | None = None

    name = "pgd"
    random_start = True
    rule_fields: ClassVar[tuple[str, ...]] = ("step_size",)

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


@registered
@dataclasses.dataclass(frozen=True)
class MarginPGD(PGD):
    """PGD up the margin max_{i != y} z_i - z_y instead of the cross entropy.

    The margin is -f_6 of Carlini and Wagner 2017, arXiv:1608.04644. Cross entropy rises as long as the true class
    loses, even to no class in particular: on a model of low confidence it may peak where nothing is misclassified. It
    stalls where a softmax saturates. The margin does neither, so the two are evaluated together.
    """

    loss: Loss = dataclasses.field(default=margin, kw_only=True)

    name = "pgd-margin"
