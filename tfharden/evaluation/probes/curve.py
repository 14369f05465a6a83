"""Accuracy against epsilon: the radius at which a model falls."""

from tfharden.attacks import PGD, MarginPGD
from tfharden.errors import InputError
from tfharden.evaluation.probes.probe import Probe, ProbeContext, ProbeFinding
from tfharden.evaluation.results import CurveResult
from tfharden.evaluation.statistics import share_interval
from tfharden.threats import Threat

# Radii, as shares of epsilon: beyond it too, where an honest model goes on falling.
EPSILON_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
STEPS = 20


def look(context: ProbeContext) -> ProbeFinding:
    """Robust accuracy at several radii: what PGD leaves, up the cross entropy and up the margin."""
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
    """Refuses a threat without room.

    Raises:
        InputError: epsilon is 0, or gradients can't be followed in the norm.
    """
    if threat.epsilon <= 0:
        raise InputError("epsilon 0 leaves nothing to draw a curve of: give a positive one")
    PGD(threat)


PROBE = Probe(look, check)
