"""Probes by name: what a report tells of a model beside its accuracy under attack."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from tfharden import data
from tfharden.attacks import PGD
from tfharden.classifiers import Classifier
from tfharden.data.examples import Examples
from tfharden.errors import InputError
from tfharden.evaluation.probes.confidence import confidence_probe
from tfharden.evaluation.probes.curve import check_radius, curve
from tfharden.evaluation.probes.fooling import FoolingImages, fool_by_evolution, fool_by_gradient
from tfharden.evaluation.probes.linearity import check_ball, linearity
from tfharden.threats import Threat

# Images that a probe looks at: enough for a mean.
PROBED = 200
# Those that a share is told of.
CURVED = 1000

Progress = Callable[[float], None]
# The part of report.json, and the images that the probe made if it makes any.
Found = tuple[dict[str, Any], FoolingImages | None]


def run_probe(
    name: str, classifier: Classifier, examples: Examples, threat: Threat, seed: int, progress: Progress
) -> Found:
    """What a probe finds of a classifier that it applies to."""
    began = time.perf_counter()
    content, images = _BY_NAME[name](classifier, examples, threat, seed, progress)
    return content | {"seconds": time.perf_counter() - began}, images


def check_probes(names: Sequence[str], classifiers: Sequence[Classifier], threat: Threat) -> None:
    """Refuses, before any work is done, what can't be looked at on any of the classifiers.

    Raises:
        InputError: an unknown probe, one that needs gradients where no classifier gives any, or one that the threat
            leaves no room for.
    """
    for name in names:
        if name not in PROBES:
            raise InputError(f"unknown probe {name!r}: known are {', '.join(PROBES)}")
        if not any(applies(name, classifier) for classifier in classifiers):
            raise InputError(f"{name} needs gradients and no model gives any: name a Keras model among them")
    if "linearity" in names:
        check_ball(threat)
    if "curve" in names:
        check_radius(threat)
    if {"curve", "confidence"} & set(names):
        PGD(threat)  # refuses a norm in which it can't search


def applies(name: str, classifier: Classifier) -> bool:
    """Whether the probe gets of the classifier what it needs."""
    return classifier.differentiable or name == "fooling-evolution"


def _linearity(classifier: Classifier, examples: Examples, threat: Threat, seed: int, progress: Progress) -> Found:
    some = data.take(examples, min(PROBED, len(examples[1])), seed)
    return linearity(classifier, some, threat, seed=seed, progress=progress).content, None


def _fooling(fool: Callable[..., FoolingImages]) -> Callable[..., Found]:
    def run(classifier: Classifier, examples: Examples, threat: Threat, seed: int, progress: Progress) -> Found:
        del examples  # these images are made of nothing
        found = fool(classifier, bounds=threat.bounds, seed=seed, progress=progress)
        return found.content, found

    return run


def _curve(classifier: Classifier, examples: Examples, threat: Threat, seed: int, progress: Progress) -> Found:
    some = data.take(examples, min(CURVED, len(examples[1])), seed)
    return curve(classifier, some, threat, seed=seed, progress=progress), None


def _sureness(classifier: Classifier, examples: Examples, threat: Threat, seed: int, progress: Progress) -> Found:
    some = data.take(examples, min(CURVED, len(examples[1])), seed)
    found = confidence_probe(classifier, some, threat, seed=seed)
    progress(1.0)
    return found, None


_BY_NAME: dict[str, Callable[..., Found]] = {
    "curve": _curve,
    "confidence": _sureness,
    "linearity": _linearity,
    "fooling-gradient": _fooling(fool_by_gradient),
    "fooling-evolution": _fooling(fool_by_evolution),
}
PROBES = tuple(_BY_NAME)
