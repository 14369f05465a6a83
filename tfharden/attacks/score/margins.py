"""Margins that are left to a criterion: what an attack without gradients brings down."""

import numpy as np

from tfharden.attacks.core.criteria import Criterion, Untargeted
from tfharden.classifiers import decide


def remaining_margins(logits: np.ndarray, criterion: Criterion) -> tuple[np.ndarray, np.ndarray]:
    """The margin that is left and whether the criterion is reached, both `[n]`, from logits `[n, classes]`.

    The margin is z_y - max_{i != y} z_i where any error counts, and max_{i != t} z_i - z_t for a target: never
    negative while the criterion is not reached, and infinite where a logit is not finite.
    """
    logits = np.asarray(logits, np.float32)
    rows = np.arange(len(logits))
    classes = criterion.labels if isinstance(criterion, Untargeted) else criterion.targets
    own, others = logits[rows, classes], logits.copy()
    others[rows, classes] = -np.inf
    rivals = others.max(axis=-1)
    with np.errstate(invalid="ignore"):  # the difference of two infinities, which the next line replaces
        margins = own - rivals if isinstance(criterion, Untargeted) else rivals - own
    margins[~np.isfinite(logits).all(axis=-1)] = np.inf
    return margins, np.asarray(criterion.reached(decide(logits)))
