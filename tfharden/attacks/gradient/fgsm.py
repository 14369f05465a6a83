"""Fast gradient sign method."""

import dataclasses

from tfharden.attacks.gradient.attack import GradientAttack
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class FGSM(GradientAttack):
    """x + epsilon * sign grad J(x) (Goodfellow et al. 2015, arXiv:1412.6572); in L2, epsilon * grad J / |grad J|_2.

    One gradient an example. Weak: a model may be trained to fool it, so it never stands alone as evidence.
    """

    name = "fgsm"
    kind = "one-step"
