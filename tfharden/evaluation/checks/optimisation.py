"""Whether an ascent of the check's own gets further than the attacks did, and as far as it should."""

import itertools
from collections.abc import Sequence

import numpy as np

from tfharden.attacks import AttackResult
from tfharden.evaluation.checks.ascent_trace import CROSSINGS, STEPS, AscentTrace, trace_ascent
from tfharden.evaluation.checks.context import Subject, Verdict, grade_images, is_climb, percent, verdict
from tfharden.losses import cross_entropy, margin

# Of the images: ascents from other points, of another loss, cross the boundary on up to 5% of those that attacks leave.
MISSED = 0.1
# The last steps, and how much of its whole rise the loss may still gain there (Pintor et al. 2022).
LAST, MOVES = 10, 0.05
# Of the images: up to 8% still climb on honest models, over half where all steps together are no longer than epsilon.
CLIMBING, UNFINISHED = 0.1, 0.25
# An attack without limits leaves none; a classifier that only guesses is right on one in ten.
UNBOUNDED_STEPS, LEFT, GUESSED = 50, 0.02, 0.1
RADII, SHORT = (0.0, 0.25, 0.5, 1.0, 2.0), 10
RISES = 0.02
# Of the examples; rounding to the lattice undoes single ones.
LOST, MANY_LOST = 0.02, 0.1


def lost(results: Sequence[AttackResult]) -> Verdict:
    """An attack that took examples for solved which the classifier gets right has stopped too early."""
    result = max(results, key=lambda result: result.lost.mean())
    count, total = int(result.lost.sum()), len(result.lost)
    detail = f"the classifier gets {count} of {total} examples right that an attack took for solved"
    return verdict("lost examples", grade_images(count, total, LOST, MANY_LOST), detail)


def own_walks(subject: Subject) -> dict[str, AscentTrace]:
    """Ascents of both losses, as far as the strongest attack went whose step is known."""
    steps, crossings = STEPS, CROSSINGS
    known = [result for result in subject.results if is_climb(result) and result.parameters.get("step_size")]
    if known and subject.threat.epsilon:
        used = min(known, key=lambda result: result.robust_accuracy).parameters
        crossings = used["steps"] * used["step_size"] / subject.threat.epsilon
    return {
        name: trace_ascent(subject, loss, steps=steps, crossings=crossings)
        for name, loss in (("cross entropy", cross_entropy), ("margin", margin))
    }


def silent_success(subject: Subject, walks: dict[str, AscentTrace]) -> Verdict:
    """Whoever passes through an error and doesn't report it looks like a robust model (Pintor et al. 2022)."""
    found = np.logical_or.reduce([made.succeeded for made in walks.values()]) & subject.missed
    count, total = int(found.sum()), len(found)
    detail = f"ascents of {STEPS} steps pass through errors on {count} of {total} images that every attack missed"
    return verdict("silent success", grade_images(count, total, 0.0, MISSED), detail)


def completeness(subject: Subject, made: AscentTrace) -> Verdict:
    """On images that don't fall, the running best of the loss has stopped to move (Pintor et al. 2022)."""
    best = np.maximum.accumulate(made.losses)
    rise = best[-1] - best[0]
    moves = np.where(rise > 0, (best[-1] - best[-1 - LAST]) / np.maximum(rise, 1e-12), 0.0)
    count, total = int(np.sum((moves > MOVES) & ~made.succeeded)), len(moves)
    detail = f"the loss still gains over {percent(MOVES)} of its rise in the last {LAST} of {STEPS} steps"
    detail += f" on {count} of {total} images, and they don't fall"
    return verdict("complete optimisation", grade_images(count, total, CLIMBING, UNFINISHED), detail)


def unbounded(subject: Subject) -> Verdict:
    """Whoever may change everything finds an error; whoever doesn't is blind (Carlini et al. 2019)."""
    low, high = (np.full_like(subject.x[:1], bound) for bound in subject.threat.bounds)
    box = float(subject.threat.distance(high, low)[0]) / subject.threat.epsilon
    # From a random point of the whole box it would start on noise, which no model gets right.
    made = trace_ascent(subject, margin, steps=UNBOUNDED_STEPS, radius=box, at_random=False)
    count, total = int((~made.succeeded).sum()), len(made.succeeded)
    detail = f"{count} of {total} images stand {UNBOUNDED_STEPS} steps in a ball as large as the box"
    return verdict("unbounded attack", grade_images(count, total, LEFT, GUESSED), detail)


def monotony(subject: Subject) -> Verdict:
    """A larger ball holds the smaller one, so accuracy doesn't rise with its radius."""
    right = [
        int((~trace_ascent(subject, cross_entropy, steps=SHORT, radius=radius, at_random=radius > 0).succeeded).sum())
        for radius in RADII
    ]
    total = len(subject.y)
    rise = max(later - earlier for earlier, later in itertools.pairwise(right))
    curve = ", ".join(f"{count / total:.1%} at {radius:g}" for count, radius in zip(right, RADII, strict=True))
    status = grade_images(max(rise, 0), total, 0.0, RISES)
    return verdict("accuracy falls with epsilon", status, f"{curve} times epsilon, on {total} images")
