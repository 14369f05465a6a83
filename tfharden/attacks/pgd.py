"""Projected gradient descent."""

import dataclasses

from tfharden.attacks.bim import BIM
from tfharden.configurable import registered


@registered
@dataclasses.dataclass(frozen=True)
class PGD(BIM):
    """Projected ascent from random points of the ball, best of several restarts (Madry et al. 2018).

    Args:
        threat: ball and box.
        steps: gradients an example and restart.
        step_size: length of a step; 2.5 * epsilon / steps by default.
        restarts: random starts an example, at the evaluator's door; training takes one.
    """

    steps: int = 40
    restarts: int = 1

    name = "pgd"
    random_start = True
