"""What checks look at, and what they say."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from tfharden.attacks import Attack, AttackResult
from tfharden.classifiers import Classifier
from tfharden.threats import Threat

Verdict = dict[str, str]

# So many images that differ from what is expected are luck: of 50 they are 4%, which would fail most checks.
LUCK = 2
# Losses that a sure softmax doesn't flatten.
MARGINS = {"margin", "difference_of_logits_ratio"}


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A classifier, a few images of its evaluation, and what its attacks made of them.

    Attributes:
        classifier: what was evaluated.
        x: images as it receives them, `[n, ...]`.
        y: true labels, `[n]`.
        threat: as the classifier meets it.
        results: of the attacks, cut to these images.
        seed: of whatever is random.
    """

    classifier: Classifier
    x: np.ndarray
    y: np.ndarray
    threat: Threat
    results: Sequence[AttackResult]
    seed: int = 0

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """Of the clean images, `[n, classes]`."""
        return self.classifier.logits(self.x)

    @functools.cached_property
    def missed(self) -> np.ndarray:
        """Images on which every attack reported failure, `[n]`."""
        return np.logical_and.reduce([~result.success for result in self.results])

    @property
    def has_ball(self) -> bool:
        """Whether there is a ball to search, in a norm that gradients can be followed in."""
        return self.threat.epsilon > 0 and self.threat.norm in Attack.norms

    def rng(self, *key: int) -> np.random.Generator:
        """Random numbers of a check's own."""
        return np.random.default_rng([self.seed % 2**32, *key])


def verdict(name: str, status: str, detail: str) -> Verdict:
    """What a check says: "pass", "warn" or "fail", and one line with its number."""
    return {"name": name, "status": status, "detail": detail}


def grade(value: float, most: float, fail: float) -> str:
    """A status: "pass" up to `most`, "fail" from `fail` on, "warn" between them."""
    return "pass" if value <= most else "warn" if value < fail else "fail"


def grade_images(count: int, total: int, most: float, fail: float) -> str:
    """The same for a share of images; what luck may do is no more than a warning."""
    status = grade(count / max(total, 1), most, fail)
    return "warn" if status == "fail" and count <= LUCK else status


def is_climb(result: AttackResult) -> bool:
    """Whether an attack followed gradients over several steps."""
    return result.access == "white-box" and result.gradients.max(initial=0) > 1


def percent(share: float) -> str:
    """With three digits that count, so that what isn't nothing doesn't look like it."""
    return f"{100 * share:.3g}%"
