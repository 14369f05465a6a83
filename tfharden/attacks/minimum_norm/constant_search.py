"""Search for the constant that weighs the loss against the length of a perturbation, for each example."""

from typing import NamedTuple

import numpy as np

# A constant goes up or down by this factor until it has been seen both to succeed and to fail.
FACTOR = 10.0
# The first constant, as a multiple of what would do if the model were linear: curved ones ask for more.
CURVATURE_ALLOWANCE = 4.0
SMALLEST, LARGEST = 1e-10, 1e10


class ConstantSearch:
    """The smallest constants k whose minimisers of |change|^2 + k loss reach the criterion, by bisection of log k.

    The smaller k, the shorter the perturbation, down to the k where the loss no longer pays for it: Szegedy et al.
    2014 and Carlini and Wagner 2017 both search for that one.

    Attributes:
        values: the constants to try next, `[n]`.
    """

    def __init__(self, constants: np.ndarray) -> None:
        self.values = np.clip(np.asarray(constants, np.float64), SMALLEST, LARGEST)
        self._failed = np.zeros_like(self.values)
        self._succeeded = np.full_like(self.values, np.inf)

    def narrow(self, succeeded: np.ndarray | bool) -> None:
        """Enters for each example whether the constant that was tried led to the criterion."""
        tried = self.values
        self._succeeded = np.where(succeeded, tried, self._succeeded)
        self._failed = np.where(succeeded, self._failed, tried)
        never_succeeded, never_failed = np.isinf(self._succeeded), self._failed == 0
        middle = np.sqrt(self._failed * np.where(never_succeeded, 0, self._succeeded))
        following = np.where(never_succeeded, tried * FACTOR, np.where(never_failed, tried / FACTOR, middle))
        self.values = np.clip(following, SMALLEST, LARGEST)


class LinearEstimate(NamedTuple):
    """What would be true of examples if the model were linear: `shortfall - slope . change` decides, all `[n]`.

    Attributes:
        shortfall: what the clean image lacks to the criterion.
        squared_slope: squared length of the loss's gradient there.
    """

    shortfall: np.ndarray
    squared_slope: np.ndarray

    @property
    def length(self) -> np.ndarray:
        """Distance of the boundary, m / |g|; infinite where the model gives no hint."""
        return np.where(self._known, self.shortfall / np.sqrt(self._squared_slope), np.inf)

    @property
    def constant(self) -> np.ndarray:
        """Some more than 2m / |g|^2, the least k for which min_d |d|^2 + k max(0, m - g . d) lies on the boundary."""
        return np.where(self._known, CURVATURE_ALLOWANCE * 2 * self.shortfall / self._squared_slope, 1.0)

    @property
    def _known(self) -> np.ndarray:
        return (self.shortfall > 0) & (self.squared_slope > 0)

    @property
    def _squared_slope(self) -> np.ndarray:
        return np.maximum(np.asarray(self.squared_slope, np.float64), np.finfo(np.float32).tiny)
