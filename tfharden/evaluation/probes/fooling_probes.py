"""Probes that make fooling images: by gradient ascent, and by evolution."""

from collections.abc import Callable

from tfharden.evaluation.probes.fooling import FoolingImages, fool_by_evolution, fool_by_gradient
from tfharden.evaluation.probes.probe import Probe, ProbeContext, ProbeFinding


def _by(fool: Callable[..., FoolingImages]) -> Callable[[ProbeContext], ProbeFinding]:
    def look(context: ProbeContext) -> ProbeFinding:
        images = fool(context.classifier, bounds=context.threat.bounds, seed=context.seed, progress=context.progress)
        return ProbeFinding(images.summary, images)

    return look


GRADIENT = Probe(_by(fool_by_gradient))
EVOLUTION = Probe(_by(fool_by_evolution), needs_gradients=False)
