"""Checks of an evaluation: where one fails, its numbers are not to be trusted."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfharden.attacks import AttackResult
from tfharden.classifiers import Classifier
from tfharden.data.examples import Examples
from tfharden.errors import InputError
from tfharden.evaluation.checks import gradients, optimisation, outputs, planted, relations
from tfharden.evaluation.checks.ascent_trace import AscentTrace
from tfharden.evaluation.checks.context import Subject, Verdict, verdict
from tfharden.threats import Threat

__all__ = ["run"]

# Images for the checks that run something of their own: a share of 2% is one of them.
IMAGES = 64
# There are no more than these; progress is told after each.
CHECKS = 18


def run(
    classifier: Classifier,
    results: Sequence[AttackResult],
    twin: Mapping[str, Any] | None,
    examples: Examples | None = None,
    threat: Threat | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Every check that applies, as `{"name", "status": "pass" | "warn" | "fail", "detail"}`.

    Args:
        classifier: what was attacked.
        results: of all attacks on it.
        twin: how near the twin of a file comes to it, as `entries.twin_entry` says.
        examples: images as the classifier receives them `[n, ...]` and true labels `[n]`, those of the results.
            Without them, or without the threat, only such checks are made as the results alone allow.
        threat: of the evaluation.
        seed: of whatever is random.
        progress: is told how much is done, of how much.

    Raises:
        InputError: examples that aren't those of the results.
    """
    subject = None
    if examples is not None and threat is not None:
        subject = _subject(classifier, results, examples, threat, seed)
    found = []
    for done, check in enumerate(_checks(classifier, results, twin, subject), start=1):
        progress(min(done, CHECKS), CHECKS)
        found += [] if check is None else [check]
    progress(CHECKS, CHECKS)
    return found


def _subject(
    classifier: Classifier, results: Sequence[AttackResult], examples: Examples, threat: Threat, seed: int
) -> Subject:
    x, y = examples
    for result in results:
        if len(result.success) != len(y):
            raise InputError(f"{result.name} was made of {len(result.success)} examples, not of these {len(y)}")
    few = [dataclasses.replace(result, success=result.success[:IMAGES]) for result in results]
    x, y = np.asarray(x[:IMAGES], np.float32), np.asarray(y[:IMAGES])
    return Subject(classifier, x, y, classifier.restrict_threat(threat), few, seed)


def _checks(
    classifier: Classifier,
    results: Sequence[AttackResult],
    twin: Mapping[str, Any] | None,
    subject: Subject | None,
) -> Iterator[Verdict | None]:
    yield outputs.scores(classifier, subject)
    if twin is not None:
        yield gradients.twin_of_file(twin)
    if subject is not None:
        yield outputs.randomness(subject)
        yield outputs.inference_mode(subject)
        if subject.has_ball:
            yield outputs.stability(subject)
    white = [result for result in results if result.access == "white-box"]
    if white:
        yield gradients.on_the_way(white)
    if results:
        yield optimisation.lost(results)
    yield relations.one_step(results)
    yield relations.weaker(results, "black box", ("score", "decision"))
    yield relations.weaker(results, "transfer", ("transfer",))
    if subject is None or not subject.has_ball:
        yield relations.losses(results, None)
        return
    if results:
        yield relations.noise(subject)
    walks = None
    if classifier.differentiable:
        try:
            walks = optimisation.own_walks(subject)
        except InputError as error:
            yield verdict("gradients at the images", "fail", str(error))
    yield relations.losses(results, walks)
    if walks is not None:
        yield from _climbed(subject, walks)


def _climbed(subject: Subject, walks: dict[str, AscentTrace]) -> Iterator[Verdict]:
    """Checks that climb the loss themselves."""
    yield gradients.at_the_images(subject)
    if subject.results:
        yield optimisation.silent_success(subject, walks)
    yield optimisation.completeness(subject, walks["cross entropy"])
    yield optimisation.unbounded(subject)
    yield optimisation.monotony(subject)
    yield planted.planted(subject)
