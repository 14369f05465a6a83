"""How sure a model is where it is right and where it is wrong, on clean and on adversarial images."""

from typing import Any

import numpy as np

from tfharden.attacks import PGD
from tfharden.classifiers import Classifier
from tfharden.data.examples import Examples
from tfharden.evaluation.probes.fooling import probabilities
from tfharden.threats import Threat

BINS, STEPS = 10, 20


def confidence_probe(classifier: Classifier, examples: Examples, threat: Threat, *, seed: int = 0) -> dict[str, Any]:
    """What report.json holds of the probability of the answer: how many images have how much of it.

    Adversarial images are those of the highest cross entropy that PGD finds in the ball: an image that stops where the
    answer changes lies at the boundary, where no model is sure.

    Args:
        classifier: one with gradients.
        examples: images and labels.
        threat: ball and box.
        seed: of the random starts.
    """
    x, y = examples
    received = np.asarray(classifier.restrict_threat(threat).round_to_lattice(x))
    made = PGD(threat, steps=STEPS, seed=seed, early_exit=False)(classifier, x, y).adversarial
    return {
        "edges": np.linspace(0, 1, BINS + 1).tolist(),
        "clean": _counts(classifier, received, y),
        "adversarial": _counts(classifier, made, y),
        "attack": PGD.name,
        "steps": STEPS,
        "num_examples": len(y),
    }


def _counts(classifier: Classifier, images: np.ndarray, y: np.ndarray) -> dict[str, list[int]]:
    found = probabilities(classifier, images)
    right = found.argmax(axis=1) == y
    return {
        name: np.histogram(found.max(axis=1)[chosen], BINS, (0.0, 1.0))[0].tolist()
        for name, chosen in (("right", right), ("wrong", ~right))
    }
