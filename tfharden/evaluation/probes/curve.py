"""Robust accuracy against epsilon."""

from tfharden.attacks import PGD, MarginPGD
from tfharden.errors import InputError
from tfharden.evaluation.probes.probe import Probe, ProbeContext, ProbeFinding
from tfharden.evaluation.results import CurveResult
from tfharden.evaluation.statistics import share_interval
from tfharden.threats import Threat

# Radii as shares of epsilon. Beyond epsilon the accuracy of a sound model keeps falling.
EPSILON_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
STEPS = 20


def look(context: ProbeContext) -> ProbeFinding:
    """Robust accuracy at several radii under PGD on the cross entropy and PGD on the margin together."""
    threats = [context.threat.scaled(share) for share in EPSILON_SHARES]
    survived = []
    for done, threat in enumerate(threats, start=1):
        attacks = [kind(threat, steps=STEPS, seed=context.seed) for kind in (PGD, MarginPGD)]
        first, second = (attack(context.classifier, *context.examples).success for attack in attacks)
        survived.append(~(first | second))
        context.progress(done / len(threats))
    result = CurveResult(
        epsilons=tuple(float(threat.epsilon) for threat in threats),
        robust_accuracy=tuple(int(right.sum()) / len(right) for right in survived),
        intervals=tuple(map(share_interval, survived)),
        attacks=(PGD.name, MarginPGD.name),
        steps=STEPS,
        num_examples=len(context.examples[1]),
    )
    return ProbeFinding(result)


def check(threat: Threat) -> None:
    """Refuses, by an `InputError`, an epsilon of 0 and norms in which gradients can't be followed."""
    if threat.epsilon <= 0:
        raise InputError("epsilon 0 leaves nothing to draw a curve of: give a positive one")
    PGD(threat)


PROBE = Probe(look, check)
