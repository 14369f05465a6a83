"""Images that checks look at, and the classifier and the threat that they are of."""

import dataclasses
import functools

import numpy as np

from tfharden.attacks import Attack
from tfharden.classifiers import Classifier
from tfharden.threats import Threat


@dataclasses.dataclass(frozen=True, eq=False)
class CheckedImages:
    """A classifier and a few images of its evaluation.

    Attributes:
        classifier: what was evaluated.
        x: images as it receives them, `[n, ...]`.
        y: true labels, `[n]`.
        threat: as the classifier meets it.
        seed: of whatever is random.
    """

    classifier: Classifier
    x: np.ndarray
    y: np.ndarray
    threat: Threat
    seed: int = 0

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """Of the clean images, `[n, classes]`."""
        return self.classifier.logits(self.x)

    @property
    def has_ball(self) -> bool:
        """Whether there is a ball to search, in a norm that gradients can be followed in."""
        return self.threat.epsilon > 0 and self.threat.norm in Attack.norms

    def rng(self, *key: int) -> np.random.Generator:
        """Random numbers of a check's own."""
        return np.random.default_rng([self.seed % 2**32, *key])
