"""Checks of gradients: of a file's twin, during the attacks, and at the images."""

from tfharden.evaluation.checks.ascent_trace import trace_ascent
from tfharden.evaluation.checks.context import MARGINS, CheckContext, Verdict, grade_images
from tfharden.evaluation.formats import exact_percent
from tfharden.losses import cross_entropy, margin

# From this share on gradients are masked; single ones vanish where the probabilities of all other classes underflow.
MASKED_SHARE = 0.02
# Random starts help at a few images with a saturated softmax, but not if most images are such.
SATURATED_SHARE = 0.5
# A sound twin has nearly all logits of the interpreter, and all classes except at a few near ties.
EXACT_LOGITS, SAME_CLASSES = 0.999, 0.98


def twin_of_file(context: CheckContext) -> Verdict | None:
    """The twin gives the same answers as its file. Otherwise its gradients are those of another model."""
    twin = context.twin
    if twin is None:
        return None
    if twin.missing is not None:
        return Verdict("warn", f"it has no twin: {twin.missing}")
    exact, same = twin.logits_exact or 0.0, twin.classes or 0.0
    detail = f"the twin has {exact:.2%} of the logits and {same:.1%} of the classes of {twin.num_examples} images"
    return Verdict(
        "pass" if exact >= EXACT_LOGITS and same == 1 else "warn" if same >= SAME_CLASSES else "fail", detail
    )


def during_attacks(context: CheckContext) -> Verdict | None:
    """Attacks see few gradients that are zero or not finite (Pintor et al. 2022, arXiv:2106.09947)."""
    white = [run.result for run in context.all_runs if run.is_white_box]
    if not white:
        return None
    total = sum(int(result.gradients.sum()) for result in white)
    zero_gradients = sum(int(result.zero_gradients.sum()) for result in white)
    share = zero_gradients / max(total, 1)
    detail = f"{zero_gradients} of {total} gradients ({exact_percent(share)}) were zero or not finite"
    return Verdict("pass" if not zero_gradients else "warn" if share < MASKED_SHARE else "fail", detail)


def at_the_images(context: CheckContext) -> Verdict | None:
    """Where only the margin has a gradient, the softmax is saturated (Carlini and Wagner 2017, arXiv:1608.04644)."""
    if context.gradient_fault:
        return Verdict("fail", context.gradient_fault)
    if not context.traces:
        return None
    no_entropy, no_margin = (
        trace_ascent(context, loss, steps=1, radius=0.0, at_random=False).zero_gradients > 0
        for loss in (cross_entropy, margin)
    )
    flat, saturated, total = no_entropy & no_margin, no_entropy & ~no_margin, len(context.y)
    status = grade_images(int(flat.sum()), total, 0.0, MASKED_SHARE)
    detail = f"neither cross entropy nor the margin has one at {flat.sum()} of {total} clean images"
    if saturated.any():
        detail += f", only the margin has one at {saturated.sum()}: saturation, climb the margin"
        climbed = any(run.loss in MARGINS for run in context.runs)
        if status == "pass":
            status = "warn" if climbed else grade_images(int(saturated.sum()), total, 0.0, SATURATED_SHARE)
    return Verdict(status, detail)
