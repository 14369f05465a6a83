"""Basic iterative method."""

import dataclasses

from tfharden.attacks.gradient.pgd import PGD
from tfharden.serialization import registered


@registered
@dataclasses.dataclass(frozen=True)
class BIM(PGD):
    """FGSM in small steps, projected after each: PGD from the clean image (Kurakin et al. 2017, arXiv:1607.02533).

    Args:
        threat: ball and box.
        steps: gradients an example.
        step_size: length of a step; 2.5 * epsilon / steps by default.
    """

    steps: int = 10

    name = "bim"
    random_start = False
