"""Protocol of probes: measurements beside accuracy under attack."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from tfharden import data
from tfharden.classifiers import Classifier
from tfharden.data.examples import Examples
from tfharden.evaluation.probes.fooling import FoolingImages
from tfharden.evaluation.results import Record
from tfharden.threats import Threat


@dataclasses.dataclass(frozen=True, eq=False)
class ProbeContext:
    """A model, and the examples and the threat that a probe measures it on. `progress` is told the share done."""

    classifier: Classifier
    examples: Examples
    threat: Threat
    seed: int = 0
    progress: Callable[[float], None] = lambda share: None


@dataclasses.dataclass(frozen=True, eq=False)
class ProbeFinding:
    """A probe's result for report.json, whose `seconds` are filled in after the run, and images for the page if any."""

    result: Record
    images: FoolingImages | None = None


@dataclasses.dataclass(frozen=True)
class Probe:
    """A probe.

    Attributes:
        look: the measurement.
        check: refuses, by an `InputError`, a threat that the measurement is not defined for.
        num_examples: largest number of images that are used.
        needs_gradients: whether the classifier has to be differentiable.
    """

    look: Callable[[ProbeContext], ProbeFinding]
    check: Callable[[Threat], None] = lambda threat: None
    num_examples: int = 1000
    needs_gradients: bool = True

    def applies(self, classifier: Classifier) -> bool:
        """Whether the classifier gives what the probe needs."""
        return classifier.differentiable or not self.needs_gradients

    def run(self, context: ProbeContext) -> ProbeFinding:
        """The finding on some of the examples, drawn by the seed, with the wall time."""
        began = time.perf_counter()
        count = min(self.num_examples, len(context.examples[1]))
        some = data.take(context.examples, count, context.seed)
        finding = self.look(dataclasses.replace(context, examples=some))
        seconds: dict[str, Any] = {"seconds": time.perf_counter() - began}
        return dataclasses.replace(finding, result=dataclasses.replace(finding.result, **seconds))
