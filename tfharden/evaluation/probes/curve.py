"""Accuracy against epsilon: at which radius a model falls, and that it falls at all."""

from collections.abc import Callable
from typing import Any

from tfharden.attacks import PGD, MarginPGD
from tfharden.classifiers import Classifier
from tfharden.data.examples import Examples
from tfharden.errors import InputError
from tfharden.evaluation.statistics import wilson
from tfharden.threats import Threat

# Radii, as shares of epsilon: beyond it too, where an honest model goes on falling.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
STEPS = 20


def curve(
    classifier: Classifier, examples: Examples, threat: Threat, *, seed: int = 0, progress: Callable[[float], None]
) -> dict[str, Any]:
    """What report.json holds of robust accuracy at several radii: what PGD leaves, up the cross entropy and the margin.

    Args:
        classifier: one with gradients.
        examples: images and labels.
        threat: its ball is scaled; epsilon has to be positive.
        seed: of the random starts.
        progress: is told the share that is done.
    """
    epsilons, accuracy, intervals = [], [], []
    x, y = examples
    for place, share in enumerate(SHARES):
        scaled = threat.scaled(share)
        fell = [kind(scaled, steps=STEPS, seed=seed)(classifier, x, y).success for kind in (PGD, MarginPGD)]
        right = int((~(fell[0] | fell[1])).sum())
        epsilons.append(float(scaled.epsilon))
        accuracy.append(right / len(y))
        intervals.append(list(wilson(right, len(y))))
        progress((place + 1) / len(SHARES))
    return {
        "epsilons": epsilons,
        "robust_accuracy": accuracy,
        "intervals": intervals,
        "attacks": [PGD.name, MarginPGD.name],
        "steps": STEPS,
        "num_examples": len(y),
    }


def check_radius(threat: Threat) -> None:
    """Refuses a threat without room.

    Raises:
        InputError: epsilon is 0.
    """
    if threat.epsilon <= 0:
        raise InputError("epsilon 0 leaves nothing to draw a curve of: give a positive one")
