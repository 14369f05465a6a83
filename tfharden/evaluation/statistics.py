"""Confidence intervals of a measured accuracy."""

import math

import numpy as np

from tfharden.errors import InputError

Z_95 = 1.959963984540054  # 97.5% quantile of the normal distribution


def share_interval(outcomes: np.ndarray) -> tuple[float, float]:
    """95% interval of the share of true outcomes `[n]`."""
    return wilson(int(outcomes.sum()), len(outcomes))


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95% Wilson score interval of a proportion, as `(low, high)` in [0, 1].

    The bounds are the two p that solve |p_hat - p| = z sqrt(p (1 - p) / n), with p_hat = successes / n:

        (p_hat + z^2 / 2n  +-  z sqrt(p_hat (1 - p_hat) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Unlike p_hat +- z sqrt(p_hat (1 - p_hat) / n) it has a width at 0% and 100%, and holds for few trials.
    (Wilson, "Probable inference, the law of succession, and statistical inference", 1927)

    Raises:
        InputError: there is no trial, or `successes` is not between 0 and `trials`.
    """
    if trials <= 0:
        raise InputError(f"an interval needs at least one example, got {trials}")
    if not 0 <= successes <= trials:
        raise InputError(f"successes must be between 0 and {trials}, got {successes}")
    proportion, z2 = successes / trials, Z_95**2
    centre = proportion + z2 / (2 * trials)
    reach = Z_95 * math.sqrt(proportion * (1 - proportion) / trials + z2 / (4 * trials**2))
    scale = 1 + z2 / trials
    # Rounding must not push a bound past the proportion: at 0 and n the bound is exactly 0 and 1.
    return max(0.0, min((centre - reach) / scale, proportion)), min(1.0, max((centre + reach) / scale, proportion))
