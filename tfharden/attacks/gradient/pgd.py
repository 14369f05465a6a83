"""Projected gradient descent."""

import dataclasses

from tfharden.attacks.gradient.bim import BIM
from tfharden.losses import Loss, margin
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class PGD(BIM):
    """Projected ascent from random points of the ball, best of several restarts (Madry et al. 2018, arXiv:1706.06083).

    Args:
        threat: ball and box.
        steps: gradients an example and restart.
        step_size: length of a step; 2.5 * epsilon / steps by default.
    """

    steps: int = 40

    name = "pgd"
    random_start = True


@registered
@dataclasses.dataclass(frozen=True)
class MarginPGD(PGD):
    """PGD up the margin max_{i != y} z_i - z_y instead of the cross entropy.

    The margin is f_6 of Carlini and Wagner 2017, arXiv:1608.04644. Cross entropy rises as long as the true class loses,
    even to no class in particular: on a model of low confidence it may peak where nothing is misclassified. It stalls
    where a softmax saturates. The margin does neither, so the two are evaluated together.
    """

    loss: Loss = dataclasses.field(default=margin, kw_only=True)

    name = "pgd-margin"
