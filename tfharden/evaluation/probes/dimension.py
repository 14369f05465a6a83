"""Effect of a perturbation on a linear classifier, and its growth with the size of the image, in closed form.

A perturbation that changes every value by epsilon moves w x by epsilon |w|_1, a sum over all values. Random noise of
the same size moves it by epsilon |w|_2 only (Goodfellow et al. 2015, arXiv:1412.6572).
"""

import dataclasses
import math

import numpy as np

from tfharden.data.examples import Examples
from tfharden.errors import InputError
from tfharden.threats import NORMS

# Weight decay of the linear classifiers, per image.
RIDGE = 0.01


def dual_order(norm: str) -> float:
    """The q of the norm that is dual to `norm`: 1 for Linf, 2 for L2, infinity for L1. `InputError` for others."""
    order = NORMS[norm.lower()].dual_order if norm.lower() in NORMS else math.nan
    if math.isnan(order):
        raise InputError(f"{norm} has no dual norm: give Linf, L2 or L1")
    return order


def linear_margin_drop(weights: np.ndarray, epsilon: float, norm: str) -> np.ndarray:
    """Largest decrease of z_y - z_k of a linear classifier: epsilon |w_y - w_k|_dual, without regard to the box.

    Args:
        weights: of a linear classifier, `[values, classes]`.
        epsilon: length of the perturbation.
        norm: that it is measured in: "Linf", "L2" or "L1".

    Returns:
        The drop for each pair (y, k), `[classes, classes]`.

    Raises:
        InputError: another norm.
    """
    return epsilon * np.linalg.norm(_differences(weights), ord=dual_order(norm), axis=0)


@dataclasses.dataclass(frozen=True)
class Growth:
    """A linear classifier of images of one size.

    Attributes:
        dimension: values of an image.
        accuracy: share of the images that it gets right.
        margin: z_y - max_{k != y} z_k, mean over images.
        drop: how far a perturbation of length epsilon pushes that difference down, mean over images.
        noise: how far noise of random signs and the same length moves it (standard deviation), mean over images.
    """

    dimension: int
    accuracy: float
    margin: float
    drop: float
    noise: float


def growth_with_dimension(examples: Examples, epsilon: float, norm: str = "Linf") -> list[Growth]:
    """Linear classifiers of the same images at several sizes, from 2 pixels a side up to the images' own.

    Images are pooled by their mean, so that their values keep their range. Each classifier is the closed form of ridge
    regression to one-hot labels: its margins are of the order of 1 at every size, and so can be compared.

    Args:
        examples: images `[n, height, width, channels]` and labels `[n]`.
        epsilon: length of the perturbation.
        norm: that it is measured in: "Linf", "L2" or "L1".

    Raises:
        InputError: what is no images, another norm.
    """
    x, y = np.asarray(examples[0], np.float64), np.asarray(examples[1])
    if x.ndim != 4 or min(x.shape[1:3]) < 2:  # noqa: PLR2004
        raise InputError(f"pooling needs images [n, height, width, channels], not {x.shape}")
    common = math.gcd(*x.shape[1:3])
    factors = [f for f in range(common, 0, -1) if common % f == 0 and min(x.shape[1:3]) // f >= 2]  # noqa: PLR2004
    return [_growth(_pooled(x, factor), y, epsilon, norm) for factor in factors]


def _growth(x: np.ndarray, y: np.ndarray, epsilon: float, norm: str) -> Growth:
    wanted = np.eye(int(y.max()) + 1)[y]
    mean, centre = x.mean(axis=0), wanted.mean(axis=0)
    squares = (x - mean).T @ (x - mean) + RIDGE * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(squares, (x - mean).T @ (wanted - centre))
    logits = (x - mean) @ weights + centre
    others = np.where(wanted > 0, -np.inf, logits)
    margins = logits[wanted > 0] - others.max(axis=1)
    pairs = y, others.argmax(axis=1)
    drop = linear_margin_drop(weights, epsilon, norm)[pairs]
    # Random signs have the length d^(1/p) in the norm p; the sum of s_i w_i has the standard deviation |w|_2.
    length = x.shape[1] ** (1 - 1 / dual_order(norm))
    noise = epsilon / length * np.linalg.norm(_differences(weights), axis=0)[pairs]
    return Growth(
        x.shape[1], float((margins > 0).mean()), float(margins.mean()), float(drop.mean()), float(noise.mean())
    )


def _pooled(x: np.ndarray, factor: int) -> np.ndarray:
    """Means over squares of `factor` pixels a side, one row an image."""
    count, height, width, channels = x.shape
    squares = x.reshape(count, height // factor, factor, width // factor, factor, channels)
    return squares.mean(axis=(2, 4)).reshape(count, -1)


def _differences(weights: np.ndarray) -> np.ndarray:
    """w_y - w_k for each pair, `[values, classes, classes]`."""
    weights = np.asarray(weights, np.float64)
    return weights[:, :, None] - weights[:, None, :]
