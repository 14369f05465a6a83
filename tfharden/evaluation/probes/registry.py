"""Probes by name."""

from collections.abc import Sequence

from tfharden._registry import Registry
from tfharden.classifiers import Classifier
from tfharden.errors import InputError
from tfharden.evaluation.probes import confidence, curve, fooling_probes, linearity
from tfharden.evaluation.probes.probe import Probe
from tfharden.threats import Threat

KNOWN: Registry[Probe] = Registry(
    "probe",
    {
        "curve": curve.PROBE,
        "confidence": confidence.PROBE,
        "linearity": linearity.PROBE,
        "fooling-gradient": fooling_probes.GRADIENT,
        "fooling-evolution": fooling_probes.EVOLUTION,
    },
)
register = KNOWN.register
PROBES = tuple(KNOWN)
"""Names of the probes that come with the package."""


def check_probes(names: Sequence[str], classifiers: Sequence[Classifier], threat: Threat) -> None:
    """Refuses, before any work is done, what can't be looked at on any of the classifiers.

    Raises:
        InputError: an unknown probe, one that needs gradients where no classifier gives any, or one that the threat
            leaves no room for.
    """
    for name in names:
        if not any(KNOWN.find(name).applies(classifier) for classifier in classifiers):
            raise InputError(f"{name} needs gradients and no model gives any: name a Keras model among them")
    for name in names:
        KNOWN[name].check(threat)
