"""Whether gradients lead anywhere."""

from collections.abc import Mapping, Sequence
from typing import Any

from tfharden.attacks import AttackResult
from tfharden.evaluation.checks.ascent_trace import trace_ascent
from tfharden.evaluation.checks.context import MARGINS, Subject, Verdict, grade_images, percent, verdict
from tfharden.losses import cross_entropy, margin

# From this share on gradients are masked; single ones vanish where the probabilities of all other classes underflow.
BLIND = 0.02
# Random starts and other images make up for a few images at which the softmax is sure, but not for most of them.
SATURATED = 0.5
# A twin has nearly all logits as the interpreter has them, and all classes but for a few near ties.
EXACT, SAME = 0.999, 0.98


def twin_of_file(twin: Mapping[str, Any]) -> Verdict:
    """Gradients of a twin that answers otherwise than the file are those of another model."""
    if twin["missing"] is not None:
        return verdict("gradients of the file", "warn", f"it has no twin: {twin['missing']}")
    exact, same = twin["logits_exact"], twin["classes"]
    status = "pass" if exact >= EXACT and same == 1 else "warn" if same >= SAME else "fail"
    detail = f"the twin has {exact:.2%} of the logits and {same:.1%} of the classes of {twin['num_examples']} images"
    return verdict("gradients of the file", status, detail)


def on_the_way(white: Sequence[AttackResult]) -> Verdict:
    """A gradient that is zero or not finite leads nowhere (Pintor et al. 2022)."""
    total = sum(int(result.gradients.sum()) for result in white)
    zero_gradients = sum(int(result.zero_gradients.sum()) for result in white)
    share = zero_gradients / max(total, 1)
    status = "pass" if not zero_gradients else "warn" if share < BLIND else "fail"
    detail = f"{zero_gradients} of {total} gradients ({percent(share)}) were zero or not finite"
    return verdict("gradients", status, detail)


def at_the_images(subject: Subject) -> Verdict:
    """Where only the margin has a gradient, the softmax is saturated (Carlini and Wagner 2017)."""
    still = {"steps": 1, "radius": 0.0, "at_random": False}
    zero_gradients = {loss: trace_ascent(subject, loss, **still).zero_gradients > 0 for loss in (cross_entropy, margin)}
    flat, total = zero_gradients[cross_entropy] & zero_gradients[margin], len(subject.y)
    saturated = zero_gradients[cross_entropy] & ~zero_gradients[margin]
    status = grade_images(int(flat.sum()), total, 0.0, BLIND)
    detail = f"neither cross entropy nor the margin has one at {flat.sum()} of {total} clean images"
    if saturated.any():
        detail += f", only the margin has one at {saturated.sum()}: saturation, climb the margin"
        climbed = any(result.parameters.get("loss") in MARGINS for result in subject.results)
        if status == "pass":
            status = "warn" if climbed else grade_images(int(saturated.sum()), total, 0.0, SATURATED)
    return verdict("gradients at the images", status, detail)
