"""Threat models: how far, and by which distance, an adversary may move an image.

A threat owns all geometry, so that attacks are written once for every norm. Images are float tensors
`[batch, ...]`; a perturbation is measured for each image over all axes but the first.
"""

from tfharden.errors import InputError
from tfharden.threats.base import TOLERANCE, Threat
from tfharden.threats.l0 import L0
from tfharden.threats.l1 import L1
from tfharden.threats.l2 import L2
from tfharden.threats.linf import Linf

NORMS: dict[str, type[Threat]] = {threat.norm.lower(): threat for threat in (Linf, L2, L1, L0)}


def get(norm: str, epsilon: float, bounds: tuple[float, float] = (0.0, 1.0), lattice: float | None = None) -> Threat:
    """The threat of that norm, "linf", "l2", "l1" or "l0" in any case.

    Raises:
        InputError: an unknown norm (the message lists the known ones), or numbers the threat refuses.
    """
    if norm.lower() not in NORMS:
        raise InputError(f"unknown norm {norm!r}: known are {', '.join(NORMS)}")
    return NORMS[norm.lower()](epsilon, bounds, lattice)


__all__ = ["L0", "L1", "L2", "NORMS", "TOLERANCE", "Linf", "Threat", "get"]
