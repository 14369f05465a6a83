"""How far scores are from a goal: what an attack without gradients brings down."""

import numpy as np

from tfharden.attacks.core.criteria import Criterion, Untargeted
from tfharden.classifiers import decide


def judge(logits: np.ndarray, criterion: Criterion) -> tuple[np.ndarray, np.ndarray]:
    """The margin that is left and whether the goal is reached, both `[n]`, from logits `[n, classes]`.

    The margin is z_y - max_{i != y} z_i where any error counts, and max_{i != t} z_i - z_t where a class is sought:
    never negative while the goal is not reached, and infinite where a logit is not finite.
    """
    logits = np.asarray(logits, np.float32)
    rows = np.arange(len(logits))
    untargeted = isinstance(criterion, Untargeted)
    classes = criterion.labels if untargeted else criterion.targets
    own, others = logits[rows, classes], logits.copy()
    others[rows, classes] = -np.inf
    rivals = others.max(axis=-1)
    with np.errstate(invalid="ignore"):  # the difference of two infinities, which the next line replaces
        margins = own - rivals if untargeted else rivals - own
    margins[~np.isfinite(logits).all(axis=-1)] = np.inf
    return margins, np.asarray(criterion.reached(decide(logits)))


def pick(criterion: Criterion, chosen: np.ndarray) -> Criterion:
    """The goals of the examples `chosen`, by index or mask."""
    return type(criterion)(*(array[chosen] for array in criterion))
