"""Relations between attacks that hold if all of them work."""

from collections.abc import Sequence

import numpy as np

from tfharden.attacks import AttackResult, Noise
from tfharden.evaluation.checks.ascent_trace import AscentTrace
from tfharden.evaluation.checks.context import MARGINS, Subject, Verdict, grade_images, is_climb, verdict

# Share of the examples that a black box may find beyond the white box, with a warning and at all. On an honest model it
# finds more where one loss alone was climbed: then the white box was weak, and its number is not to be trusted.
BEYOND, MASKED = 0.01, 0.02
# Points between the losses: up to 8 on small honest models, 45 where a softmax is saturated.
DIFFER, CONTRADICT = 0.02, 0.15
# Random changes, and the share of the images that they have no business to find.
DRAWS, FOUND = 100, 0.02


def one_step(results: Sequence[AttackResult]) -> Verdict | None:
    """Iterated attacks beat single steps (Carlini et al. 2019)."""
    white = [result for result in results if result.access == "white-box"]
    one = [result for result in white if result.gradients.max(initial=0) == 1]
    many = [result for result in results if is_climb(result)]
    if not (one and many):
        return None
    left, remain = (min(int((~result.success).sum()) for result in group) for group in (one, many))
    total = len(one[0].success)
    detail = f"robust accuracy {left / total:.1%} under one step, {remain / total:.1%} under many"
    return verdict("one step not stronger than many", "pass" if left >= remain else "fail", detail)


def weaker(results: Sequence[AttackResult], name: str, access: Sequence[str]) -> Verdict | None:
    """Attacks that see the model beat attacks that don't, on each example (Athalye, Carlini, Wagner 2018)."""
    many, others = [r for r in results if is_climb(r)], [r for r in results if r.access in access]
    if not (many and others):
        return None
    # One step is white-box too: what it finds, the white box has found.
    white = [result for result in results if result.access == "white-box"]
    seen, unseen = (np.logical_or.reduce([result.success for result in group]) for group in (white, others))
    count, total = int(np.sum(unseen & ~seen)), len(seen)
    status = "pass" if count < BEYOND * total else "warn" if count < MASKED * total else "fail"
    detail = f"{count / total:.1%} of the examples fell to the {name} alone"
    return verdict(f"{name} not stronger than white box", status, detail)


def losses(results: Sequence[AttackResult], walks: dict[str, AscentTrace] | None) -> Verdict | None:
    """Cross entropy and the margin rank images alike, unless one of them is flat (Croce and Hein 2020).

    Taken from the attacks if they climbed both, else from the checks' own ascents.
    """
    climbs = [result for result in results if is_climb(result)]
    groups = [
        [~result.success for result in climbs if result.parameters.get("loss") in names]
        for names in ({"cross_entropy"}, MARGINS)
    ]
    whose = "attacks"
    if not all(groups):
        if walks is None:
            return None
        groups, whose = [[~made.succeeded] for made in walks.values()], "ascents of the check"
    total = len(groups[0][0])
    entropy, rival = (min(int(survived.sum()) for survived in group) for group in groups)
    status = grade_images(abs(entropy - rival), total, DIFFER, CONTRADICT)
    detail = f"{whose} leave {entropy / total:.1%} by cross entropy, {rival / total:.1%} by margin or DLR, of {total}"
    return verdict("cross entropy against margin", status, detail)


def noise(subject: Subject) -> Verdict | None:
    """What no search is needed for, an attack has to find (Carlini et al. 2019)."""
    left = np.flatnonzero(subject.missed)
    if not len(left):
        return None
    attack = Noise(subject.threat, draws=DRAWS, seed=subject.seed)
    count, total = int(attack(subject.classifier, subject.x[left], subject.y[left]).success.sum()), len(subject.y)
    detail = f"{DRAWS} random changes find errors on {count} of {total} images that every attack missed"
    return verdict("noise finds nothing new", grade_images(count, total, 0.0, FOUND), detail)
