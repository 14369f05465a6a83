"""Context of checks: a classifier, some of its images, and the attacks on them."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import numpy as np

from tfharden.attacks import Attack
from tfharden.classifiers import Classifier
from tfharden.data.examples import Examples
from tfharden.errors import InputError
from tfharden.evaluation.attack_run import AttackRun
from tfharden.evaluation.checks.ascent_trace import CROSSINGS, AscentTrace, CheckImages, trace_ascent
from tfharden.evaluation.results import TwinResult
from tfharden.losses import cross_entropy, difference_of_logits_ratio, margin
from tfharden.threats import Threat

# Images for the checks that run something of their own: a share of 2% is one of them.
IMAGES = 64
# Up to this number of unexpected images is chance: of 50 images they are 4%, which would fail most checks.
LUCKY_IMAGES = 2
# Losses that a saturated softmax doesn't flatten.
MARGINS = (margin, difference_of_logits_ratio)

Status = Literal["pass", "warn", "fail"]


class Verdict(NamedTuple):
    """Verdict of a check. `detail` is one line with the number that was seen."""

    status: Status
    detail: str


@dataclasses.dataclass(frozen=True, eq=False)
class CheckContext(CheckImages):
    """Some images of an evaluation, and the attacks on all of its images.

    Attributes:
        all_runs: the attacks on all images.
        twin: agreement of a file's twin with the interpreter; None if the classifier is no file.
    """

    all_runs: Sequence[AttackRun] = ()
    twin: TwinResult | None = None

    @classmethod
    def of(
        cls,
        classifier: Classifier,
        runs: Sequence[AttackRun],
        examples: Examples,
        threat: Threat,
        *,
        twin: TwinResult | None = None,
        seed: int = 0,
    ) -> Self:
        """The context of an evaluation. `examples` are those of the runs, as the classifier receives them.

        Raises:
            InputError: examples that aren't those of the runs.
        """
        x, y = examples
        for run in runs:
            if len(run.result.success) != len(y):
                raise InputError(f"{run.name} was made of {len(run.result.success)} examples, not of these {len(y)}")
        x, y = np.asarray(x[:IMAGES], np.float32), np.asarray(y[:IMAGES])
        return cls(classifier, x, y, classifier.restrict_threat(threat), seed, runs, twin)

    @property
    def has_ball(self) -> bool:
        """Whether there is a ball to search, in a norm that gradients can be followed in."""
        return self.threat.epsilon > 0 and self.threat.norm in Attack.norms

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """Logits of the clean images, `[n, classes]`."""
        return self.classifier.logits(self.x)

    @functools.cached_property
    def runs(self) -> list[AttackRun]:
        """The attacks on these images."""
        return [run.first(len(self.y)) for run in self.all_runs]

    @functools.cached_property
    def missed(self) -> np.ndarray:
        """Images on which every attack failed, `[n]`."""
        return np.logical_and.reduce([~run.result.success for run in self.runs])

    @property
    def traces(self) -> dict[str, AscentTrace]:
        """Ascents of both losses, as long as those of the strongest attack of known steps; none without gradients."""
        return self._traces_and_fault[0]

    @property
    def gradient_fault(self) -> str:
        """Why a classifier that should give gradients does not; empty if it does."""
        return self._traces_and_fault[1]

    @functools.cached_property
    def _traces_and_fault(self) -> tuple[dict[str, AscentTrace], str]:
        if not (self.has_ball and self.classifier.differentiable):
            return {}, ""
        known = [run for run in self.runs if run.takes_many_steps and run.path_length]
        strongest = min(known, key=lambda run: run.result.robust_accuracy, default=None)
        crossings = (strongest.path_length or 0.0) / self.threat.epsilon if strongest else CROSSINGS
        losses = {"cross entropy": cross_entropy, "margin": margin}
        try:
            return {name: trace_ascent(self, loss, crossings=crossings) for name, loss in losses.items()}, ""
        except InputError as error:
            return {}, str(error)


def grade(value: float, most: float, fail: float) -> Status:
    """A status: "pass" up to `most`, "fail" from `fail` on, "warn" between them."""
    return "pass" if value <= most else "warn" if value < fail else "fail"


def grade_images(count: int, total: int, most: float, fail: float) -> Status:
    """The same for a share of images; what chance may cause is no more than a warning."""
    status = grade(count / max(total, 1), most, fail)
    return "warn" if status == "fail" and count <= LUCKY_IMAGES else status
