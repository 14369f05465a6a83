"""Results of one model: facts about it, accuracy under its attacks, checks and probes."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Self

from tfharden.errors import InputError
from tfharden.evaluation.results.attack import AttackSummary
from tfharden.evaluation.results.probes import PROBE_RESULTS
from tfharden.evaluation.results.record import OMITTED, Count, Interval, Positive, Record, Share


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LatencyResult(Record):
    """How long a file takes for an image.

    Attributes:
        seconds: median over the rounds.
        threads: interpreters that shared the images.
        rounds: times that all images were run.
        images: how many they were.
        kernels: kernels that ran them.
    """

    seconds: Positive
    threads: Count
    rounds: Count
    images: Count
    kernels: str


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TwinResult(Record):
    """How near the twin that gives a file's gradients comes to the interpreter.

    Attributes:
        missing: why there is no twin; None if there is one. The other attributes are None where there is none.
        num_examples: images on which both were compared.
        exact: least share, over all tensors, of values that are the same.
        logits_exact: that of the logits.
        largest_lsb: largest difference in any tensor of integers, in steps.
        classes: share of the images of which both give the same class.
    """

    missing: str | None
    num_examples: Count | None = dataclasses.field(default=None, metadata=OMITTED)
    exact: Share | None = dataclasses.field(default=None, metadata=OMITTED)
    logits_exact: Share | None = dataclasses.field(default=None, metadata=OMITTED)
    largest_lsb: Positive | None = dataclasses.field(default=None, metadata=OMITTED)
    classes: Share | None = dataclasses.field(default=None, metadata=OMITTED)

    def check(self, place: str) -> None:  # noqa: D102
        if self.missing is None and None in (self.num_examples, self.logits_exact, self.largest_lsb, self.classes):
            raise InputError(f"{place}: a twin that is not missing needs its numbers")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CheckResult(Record):
    """What a check says.

    Attributes:
        name: which check.
        status: "pass", "warn", or "fail": then the numbers are not to be trusted.
        detail: what was seen, in one line.
    """

    name: str
    status: Literal["pass", "warn", "fail"]
    detail: str


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class WorstCase(Record):
    """All attacks on a model together.

    Attributes:
        robust_accuracy: share of the images that stay right under every attack.
        interval: 95% interval of it.
        attacks: names of the attacks.
    """

    robust_accuracy: Share
    interval: Interval
    attacks: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ModelFacts(Record):
    """What is known of a model before anything is run on it.

    Attributes:
        name: its file's name, or its own.
        role: what it is to the reader, such as "student".
        path: of its file; None if it came from none, as are hash and size.
        sha256: of its file.
        bytes: size of its file.
        kernels: what runs a .tflite.
        latency: of a .tflite.
        format: "keras", "tflite-int8" and the like, or "callable".
        parameters: how many numbers it was trained to, if that is known.
    """

    name: str | None = dataclasses.field(default=None, metadata=OMITTED)
    path: str | None
    sha256: str | None
    bytes: Count | None
    kernels: str | None
    latency: LatencyResult | None = None
    format: str
    parameters: Count | None
    role: str | None = dataclasses.field(default=None, metadata=OMITTED)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ModelResult(ModelFacts):
    """One model under all attacks.

    Attributes:
        clean_accuracy: share of the images that it gets right without an attack.
        clean_interval: 95% interval of it.
        attacks: what each attack did.
        worst_case: all attacks together.
        twin: of a .tflite.
        checks: whether the numbers are to be trusted.
        probes: what else was looked at, by the name of the probe.
    """

    clean_accuracy: Share
    clean_interval: Interval
    attacks: tuple[AttackSummary, ...]
    worst_case: WorstCase
    twin: TwinResult | None = None
    checks: tuple[CheckResult, ...]
    probes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_json(cls, value: object, place: str = "report.json") -> Self:  # noqa: D102
        made = super().from_json(value, place)
        probes = {
            name: PROBE_RESULTS[name].from_json(found, f"{place}: probes.{name}") if name in PROBE_RESULTS else found
            for name, found in made.probes.items()
        }
        return dataclasses.replace(made, probes=probes)

    def check(self, place: str) -> None:  # noqa: D102
        if self.name is None and self.path is None:
            raise InputError(f"{place}: a model needs a name or a path")
