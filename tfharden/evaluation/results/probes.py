"""Results of probes: `models[].probes` of docs/report.md."""

import dataclasses

import numpy as np

from tfharden.errors import InputError
from tfharden.evaluation.results.record import OMITTED, Count, Interval, Positive, Record, Share, check_lengths


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CurveResult(Record):
    """Robust accuracy under all attacks at several radii, of all images that were attacked."""

    epsilons: tuple[Positive, ...]
    robust_accuracy: tuple[Share, ...]
    intervals: tuple[Interval, ...]
    attacks: tuple[str, ...]
    steps: Count
    num_examples: Count
    seconds: Positive | None = dataclasses.field(default=None, metadata=OMITTED)

    def check(self, place: str) -> None:  # noqa: D102
        lengths = {"accuracies": len(self.robust_accuracy), "intervals": len(self.intervals)}
        check_lengths(place, epsilons=len(self.epsilons), **lengths)
        if not self.epsilons:
            raise InputError(f"{place}: a curve needs one epsilon at least")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class AnswerCounts(Record):
    """Numbers of right and of wrong answers in each bin of their probability."""

    right: tuple[Count, ...]
    wrong: tuple[Count, ...]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ConfidenceResult(Record):
    """Confidence of a model on clean images and on those of the highest loss that an attack finds."""

    edges: tuple[Share, ...]
    clean: AnswerCounts
    adversarial: AnswerCounts
    attack: str
    steps: Count
    num_examples: Count
    seconds: Positive | None = dataclasses.field(default=None, metadata=OMITTED)

    def check(self, place: str) -> None:  # noqa: D102
        counts = {
            f"{kind} {name}": len(getattr(getattr(self, kind), name)) + 1
            for kind in ("clean", "adversarial")
            for name in ("right", "wrong")
        }
        check_lengths(place, edges=max(len(self.edges), 2), **counts)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LineExample(Record):
    """Logits `[points, classes]` of one image of class `label` along the line."""

    label: Count
    logits: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LinearityResult(Record):
    """A model along the steepest line through its images, and within the ball.

    `offsets` and `margin_mean` are `[points]`. The line goes `reach` epsilons to either side.
    """

    reach: Positive
    offsets: np.ndarray
    margin_mean: np.ndarray
    example: LineExample
    straightness: float
    rise_mean: float
    gamma_mean: float
    deviation: float
    num_examples: Count
    loss: str
    seconds: Positive | None = dataclasses.field(default=None, metadata=OMITTED)

    def check(self, place: str) -> None:  # noqa: D102
        logits = self.example.logits
        check_lengths(place, offsets=len(self.offsets), margins=len(self.margin_mean), logits=len(logits))
        is_a_line = self.offsets.ndim == self.margin_mean.ndim == 1 and len(self.offsets) > 1
        if not is_a_line or logits.ndim != 2 or self.example.label >= logits.shape[1] or self.reach <= 0:  # noqa: PLR2004
            raise InputError(f"{place}: a line needs points, logits [points, classes] and a label among the classes")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class FoolingResult(Record):
    """Images made from noise. `confidence` is the probability of each of `classes` in the image made for it."""

    wanted: Share
    success_rate: Share
    classes: tuple[Count, ...]
    confidence: tuple[Share, ...]
    queries: Count
    gradients: Count
    seconds: Positive | None = dataclasses.field(default=None, metadata=OMITTED)


PROBE_RESULTS: dict[str, type[Record]] = {
    "curve": CurveResult,
    "confidence": ConfidenceResult,
    "linearity": LinearityResult,
    "fooling-gradient": FoolingResult,
    "fooling-evolution": FoolingResult,
}
"""The record of each probe, by its name."""
