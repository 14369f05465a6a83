"""Confidence of right and of wrong answers, on clean and on adversarial images."""

import numpy as np

from tfharden.attacks import PGD
from tfharden.evaluation.probes.probe import Probe, ProbeContext, ProbeFinding
from tfharden.evaluation.results import AnswerCounts, ConfidenceResult
from tfharden.hardening.confidence_measure import AnswerConfidences, answer_confidences
from tfharden.threats import Threat

BINS, STEPS = 10, 20


def look(context: ProbeContext) -> ProbeFinding:
    """Numbers of answers by probability, on clean images and on those of the highest loss that PGD finds."""
    attack = PGD(context.threat, steps=STEPS, seed=context.seed)
    clean, adversarial = answer_confidences(context.classifier, *context.examples, attack)
    edges = np.linspace(0, 1, BINS + 1)
    context.progress(1.0)
    result = ConfidenceResult(
        edges=tuple(edges.tolist()),
        clean=_counts(clean),
        adversarial=_counts(adversarial),
        attack=attack.name,
        steps=STEPS,
        num_examples=len(clean.right),
    )
    return ProbeFinding(result)


def check(threat: Threat) -> None:
    """Refuses, by an `InputError`, a norm in which gradients can't be followed."""
    PGD(threat)


def _counts(answers: AnswerConfidences) -> AnswerCounts:
    right, wrong = (
        tuple(np.histogram(answers.probability[chosen], BINS, (0.0, 1.0))[0].tolist())
        for chosen in (answers.right, ~answers.right)
    )
    return AnswerCounts(right=right, wrong=wrong)


PROBE = Probe(look, check)
