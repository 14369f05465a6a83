"""Results of probes: measurements of a model beside its accuracy under attack."""

import dataclasses

import numpy as np

from tfharden.errors import InputError
from tfharden.evaluation.results.record import (
    OMITTED,
    Count,
    Interval,
    Positive,
    Record,
    Share,
    Shares,
    check_lengths,
)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CurveResult(Record):
    """Robust accuracy at several radii.

    Attributes:
        epsilons: the radii.
        robust_accuracy: at each, the share of the images that stay right under all attacks.
        intervals: 95% intervals of these.
        attacks: names of the attacks.
        steps: of each attack.
        num_examples: images attacked.
        seconds: wall time.
    """

    epsilons: tuple[Positive, ...]
    robust_accuracy: Shares
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
    """Numbers of images by the probability of their answer.

    Attributes:
        right: in each bin, answers that are right.
        wrong: in each bin, answers that are wrong.
    """

    right: tuple[Count, ...]
    wrong: tuple[Count, ...]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ConfidenceResult(Record):
    """How sure a model is, on clean images and on those of the highest loss that an attack finds.

    Attributes:
        edges: ends of the bins of probability.
        clean: clean images.
        adversarial: attacked images.
        attack: what made them.
        steps: its steps.
        num_examples: images looked at.
        seconds: wall time.
    """

    edges: Shares
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
    """One image along the line.

    Attributes:
        label: its class.
        logits: at each offset, its logits, `[points, classes]`.
    """

    label: Count
    logits: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LinearityResult(Record):
    """A model along the steepest line through its images, and within the ball.

    Attributes:
        reach: how many epsilons the line goes to either side.
        offsets: distances from the image along the line, `[points]`.
        margin_mean: how far the true class leads the next at each, mean over images, `[points]`.
        example: one of the images.
        straightness: R^2 of straight lines fitted to the logits, mean over images.
        rise_mean: rise of the loss by the steepest step of length epsilon, mean over images.
        gamma_mean: largest departure found of the loss from its linear forecast, mean over images.
        deviation: `gamma_mean` relative to the mean size of the rise.
        num_examples: images looked at.
        loss: name of the loss.
        seconds: wall time.
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
    """Images made from noise that a model is sure of.

    Attributes:
        wanted: confidence that was asked for.
        success_rate: share of the classes for which it was reached.
        classes: classes that were aimed at.
        confidence: the model's probability of each in its image.
        queries: forward passes in all.
        gradients: forward and backward passes in all.
        seconds: wall time.
    """

    wanted: Share
    success_rate: Share
    classes: tuple[Count, ...]
    confidence: Shares
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
