"""Relations that hold if an evaluation is sound; where one doesn't, its numbers are not to be trusted."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfharden.attacks import AttackResult
from tfharden.classifiers import Classifier

# A black box that finds this share of the examples more than the white box points to masked gradients.
MASKING = 0.02
# Share of logits that a twin has to have exactly as the interpreter has them.
EXACT = 0.999


def run(
    classifier: Classifier, results: Sequence[AttackResult], twin: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Every check that these results allow, as `{"name", "status": "pass" | "warn" | "fail", "detail"}`."""
    white = [result for result in results if result.access == "white-box"]
    black = [result for result in results if result.access in ("score", "decision")]
    found = [_scores(classifier)]
    if twin is not None:
        found.append(_twin(twin))
    if white:
        found.append(_gradients(white))
    one = [result for result in white if result.gradients.max(initial=0) == 1]
    many = [result for result in white if result.gradients.max(initial=0) > 1]
    if one and many:
        found.append(_one_step(_least(one), _least(many)))
    if many and black:
        found.append(_black_box(many, black))
    return found


def _scores(classifier: Classifier) -> dict[str, Any]:
    """Attacks on probabilities stall where these saturate."""
    saturating = classifier.scores == "log of probabilities"
    return _check("scores", "warn" if saturating else "pass", f"attacks see {classifier.scores}")


def _twin(twin: Mapping[str, Any]) -> dict[str, Any]:
    """Gradients of a twin that answers otherwise than the file are those of another model."""
    if twin["missing"] is not None:
        return _check("gradients of the file", "warn", f"it has no twin: {twin['missing']}")
    exact, same = twin["logits_exact"], twin["classes"]
    status = "pass" if exact >= EXACT and same == 1 else "warn" if same >= 1 - MASKING else "fail"
    detail = f"the twin has {exact:.2%} of the logits and {same:.1%} of the classes of {twin['num_examples']} images"
    return _check("gradients of the file", status, detail)


def _gradients(white: Sequence[AttackResult]) -> dict[str, Any]:
    """A gradient that is zero or not finite leads nowhere (Pintor et al. 2022)."""
    total = sum(int(result.gradients.sum()) for result in white)
    share = sum(int(result.blind.sum()) for result in white) / max(total, 1)
    status = "pass" if share == 0 else "warn" if share < MASKING else "fail"
    return _check("gradients", status, f"{share:.2%} of {total} gradients were zero or not finite")


def _one_step(one: float, many: float) -> dict[str, Any]:
    """Iterated attacks beat single steps (Carlini et al. 2019)."""
    detail = f"robust accuracy {one:.1%} under one step, {many:.1%} under many"
    return _check("one step not stronger than many", "pass" if one >= many else "fail", detail)


def _black_box(white: Sequence[AttackResult], black: Sequence[AttackResult]) -> dict[str, Any]:
    """Attacks that see the model beat attacks that don't (Athalye, Carlini, Wagner 2018)."""
    fell = [np.logical_or.reduce([result.success for result in group]) for group in (white, black)]
    share = float(np.mean(fell[1] & ~fell[0]))
    status = "pass" if share < MASKING / 2 else "warn" if share < MASKING else "fail"
    return _check(
        "black box not stronger than white box", status, f"{share:.1%} of the examples fell to the black box alone"
    )


def _least(results: Sequence[AttackResult]) -> float:
    return min(result.robust_accuracy for result in results)


def _check(name: str, status: str, detail: str) -> dict[str, Any]:
    return {"name": name, "status": status, "detail": detail}
