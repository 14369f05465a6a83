"""Probes by name."""

from collections.abc import Callable, Sequence

from tfharden._registry import Registry
from tfharden.classifiers import Classifier
from tfharden.errors import InputError
from tfharden.evaluation.probes import confidence, curve, fooling, linearity
from tfharden.evaluation.probes.probe import Probe, ProbeContext, ProbeFinding
from tfharden.threats import Threat


def _fooling_probe(fool: Callable[..., fooling.FoolingImages], *, needs_gradients: bool = True) -> Probe:
    def look(context: ProbeContext) -> ProbeFinding:
        images = fool(context.classifier, bounds=context.threat.bounds, seed=context.seed, progress=context.progress)
        return ProbeFinding(images.summary, images)

    return Probe(look, needs_gradients=needs_gradients)


KNOWN: Registry[Probe] = Registry(
    "probe",
    {
        "curve": curve.PROBE,
        "confidence": confidence.PROBE,
        "linearity": linearity.PROBE,
        "fooling-gradient": _fooling_probe(fooling.fool_by_gradient),
        "fooling-evolution": _fooling_probe(fooling.fool_by_evolution, needs_gradients=False),
    },
)
register = KNOWN.register
PROBES = tuple(KNOWN)
"""Names of the probes that come with the package."""


def check_probes(names: Sequence[str], classifiers: Sequence[Classifier], threat: Threat) -> None:
    """Refuses probes, before any work is done, that apply to none of the classifiers or not to the threat.

    Raises:
        InputError: an unknown probe, or one that does not apply.
    """
    for name in names:
        if not any(KNOWN.find(name).applies(classifier) for classifier in classifiers):
            raise InputError(f"{name} needs gradients and no model gives any: name a Keras model among them")
    for name in names:
        KNOWN[name].check(threat)
