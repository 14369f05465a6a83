"""Checks by additional ascents, which find no more than the attacks did and have converged."""

import itertools

import numpy as np

from tfharden.evaluation.checks.ascent_trace import STEPS, trace_ascent
from tfharden.evaluation.checks.context import CheckContext, Verdict, grade_images
from tfharden.evaluation.formats import exact_percent
from tfharden.losses import cross_entropy, margin

# Of the images: ascents from other points, of another loss, cross the boundary on up to 5% of those that attacks leave.
MISSED_SHARE = 0.1
# The last steps, and how much of its whole rise the loss may still gain there (Pintor et al. 2022).
LAST_STEPS, LAST_RISE = 10, 0.05
# Of the images: up to 8% still climb on sound models, over half where all steps together are no longer than epsilon.
CLIMBING_SHARE, UNFINISHED_SHARE = 0.1, 0.25
# An unlimited attack leaves no image right. A classifier that guesses among ten classes is right on one in ten.
UNBOUNDED_STEPS, UNBOUNDED_LEFT, GUESSED_SHARE = 50, 0.02, 0.1
# Radii in units of epsilon, steps of each ascent, and the share of the images by which accuracy may rise.
RADII, SHORT_STEPS, RISING_SHARE = (0.0, 0.25, 0.5, 1.0, 2.0), 10, 0.02
# Shares of the examples. Rounding to the lattice undoes single ones.
LOST_SHARE, MANY_LOST = 0.02, 0.1


def lost_examples(context: CheckContext) -> Verdict | None:
    """Attacks lose few examples to rounding. An attack that loses many has stopped too early."""
    if not context.all_runs:
        return None
    lost = max((run.result.lost for run in context.all_runs), key=np.mean)
    count, total = int(lost.sum()), len(lost)
    detail = f"the classifier gets {count} of {total} examples right that an attack took for solved"
    return Verdict(grade_images(count, total, LOST_SHARE, MANY_LOST), detail)


def silent_success(context: CheckContext) -> Verdict | None:
    """Ascents find few errors on images that every attack missed (silent success, Pintor et al. 2022).

    arXiv:2106.09947.
    """
    if not (context.traces and context.runs):
        return None
    found = np.logical_or.reduce([trace.succeeded for trace in context.traces.values()]) & context.missed
    count, total = int(found.sum()), len(found)
    detail = f"ascents of {STEPS} steps pass through errors on {count} of {total} images that every attack missed"
    return Verdict(grade_images(count, total, 0.0, MISSED_SHARE), detail)


def completeness(context: CheckContext) -> Verdict | None:
    """The best loss no longer rises at the end, on images that stay right (Pintor et al. 2022, arXiv:2106.09947)."""
    if not context.traces:
        return None
    trace = context.traces["cross entropy"]
    best = np.maximum.accumulate(trace.losses)
    rise = best[-1] - best[0]
    moves = np.where(rise > 0, (best[-1] - best[-1 - LAST_STEPS]) / np.maximum(rise, 1e-12), 0.0)
    count, total = int(np.sum((moves > LAST_RISE) & ~trace.succeeded)), len(moves)
    detail = f"the loss still gains over {exact_percent(LAST_RISE)} of its rise in the last {LAST_STEPS} of {STEPS}"
    detail += f" steps on {count} of {total} images, and they don't fall"
    return Verdict(grade_images(count, total, CLIMBING_SHARE, UNFINISHED_SHARE), detail)


def unbounded(context: CheckContext) -> Verdict | None:
    """An attack without a limit on the perturbation finds an error on every image (Carlini et al. 2019).

    arXiv:1902.06705.
    """
    if not context.traces:
        return None
    low, high = (np.full_like(context.x[:1], bound) for bound in context.threat.bounds)
    box = float(context.threat.distance(high, low)[0]) / context.threat.epsilon
    # A random point of the whole box is noise, which no model gets right, so the ascent starts at the image.
    trace = trace_ascent(context, margin, steps=UNBOUNDED_STEPS, radius=box, at_random=False)
    count, total = int((~trace.succeeded).sum()), len(trace.succeeded)
    detail = f"{count} of {total} images stand {UNBOUNDED_STEPS} steps in a ball as large as the box"
    return Verdict(grade_images(count, total, UNBOUNDED_LEFT, GUESSED_SHARE), detail)


def monotony(context: CheckContext) -> Verdict | None:
    """Accuracy doesn't rise with the radius, since a larger ball contains the smaller one."""
    if not context.traces:
        return None
    traces = (
        trace_ascent(context, cross_entropy, steps=SHORT_STEPS, radius=radius, at_random=radius > 0) for radius in RADII
    )
    right, total = [int((~trace.succeeded).sum()) for trace in traces], len(context.y)
    rise = max(later - earlier for earlier, later in itertools.pairwise(right))
    curve = ", ".join(f"{count / total:.1%} at {radius:g}" for count, radius in zip(right, RADII, strict=True))
    status = grade_images(max(rise, 0), total, 0.0, RISING_SHARE)
    return Verdict(status, f"{curve} times epsilon, on {total} images")
