"""Protocol of probes: what is looked at beside accuracy under attack."""

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
    """What a probe looks at.

    Attributes:
        classifier: the model.
        examples: images and labels.
        threat: ball and box.
        seed: of whatever is random.
        progress: is told the share that is done.
    """

    classifier: Classifier
    examples: Examples
    threat: Threat
    seed: int = 0
    progress: Callable[[float], None] = lambda share: None


@dataclasses.dataclass(frozen=True, eq=False)
class ProbeFinding:
    """What a probe found.

    Attributes:
        result: for report.json, with a field `seconds` that is filled in after the run.
        images: for the page, if the probe makes any.
    """

    result: Record
    images: FoolingImages | None = None


@dataclasses.dataclass(frozen=True)
class Probe:
    """A probe.

    Attributes:
        look: from a context to what is found.
        check: refuses, by an `InputError`, a threat that leaves nothing to look at.
        num_examples: images that it looks at, at most.
        needs_gradients: whether it can look at differentiable classifiers only.
    """

    look: Callable[[ProbeContext], ProbeFinding]
    check: Callable[[Threat], None] = lambda threat: None
    num_examples: int = 1000
    needs_gradients: bool = True

    def applies(self, classifier: Classifier) -> bool:
        """Whether the probe gets of the classifier what it needs."""
        return classifier.differentiable or not self.needs_gradients

    def run(self, context: ProbeContext) -> ProbeFinding:
        """What is found on some of the examples, drawn by the seed, with the wall time."""
        began = time.perf_counter()
        count = min(self.num_examples, len(context.examples[1]))
        some = data.take(context.examples, count, context.seed)
        finding = self.look(dataclasses.replace(context, examples=some))
        seconds: dict[str, Any] = {"seconds": time.perf_counter() - began}
        return dataclasses.replace(finding, result=dataclasses.replace(finding.result, **seconds))
