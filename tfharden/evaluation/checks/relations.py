"""Checks of relations between attacks that hold if all of them work."""

from collections.abc import Sequence

import numpy as np

from tfharden.attacks import Noise
from tfharden.evaluation.checks.context import MARGINS, CheckContext, Status, Verdict, grade_images
from tfharden.losses import cross_entropy

# Shares of the examples that only the black box finds: a warning from the first on, a failure from the second on. It
# finds more on sound models too if the white box maximised a single loss. Then the white box was too weak.
BEYOND_WHITE_BOX, MASKED_SHARE = 0.01, 0.02
# Points between the losses: up to 8 on small sound models, 45 where a softmax is saturated.
LOSSES_DIFFER, LOSSES_CONTRADICT = 0.02, 0.15
# Random changes, and the share of the images on which they must not find an error.
NOISE_DRAWS, NOISE_FINDS = 100, 0.02


def one_step(context: CheckContext) -> Verdict | None:
    """Iterated attacks are at least as strong as single steps (Carlini et al. 2019, arXiv:1902.06705)."""
    one = [run.result for run in context.all_runs if run.takes_one_step]
    many = [run.result for run in context.all_runs if run.takes_many_steps]
    if not (one and many):
        return None
    left, remain = (min(int((~result.success).sum()) for result in group) for group in (one, many))
    total = len(one[0].success)
    detail = f"robust accuracy {left / total:.1%} under one step, {remain / total:.1%} under many"
    return Verdict("pass" if left >= remain else "fail", detail)


def black_box(context: CheckContext) -> Verdict | None:
    """Black-box attacks find no errors that white-box attacks miss (Athalye et al. 2018, arXiv:1802.00420)."""
    return _weaker(context, "black box", ("score", "decision"))


def transfer(context: CheckContext) -> Verdict | None:
    """Transfer finds no errors that white-box attacks miss (Athalye et al. 2018, arXiv:1802.00420)."""
    return _weaker(context, "transfer", ("transfer",))


def losses(context: CheckContext) -> Verdict | None:
    """Cross entropy and the margin rank images alike, unless one of them is flat (Croce and Hein 2020).

    arXiv:2003.01690. The ranking is that of the attacks if they maximised both, else that of the check's own ascents.
    """
    runs = [run for run in context.all_runs if run.takes_many_steps]
    groups = [[~run.result.success for run in runs if run.loss in kinds] for kinds in ((cross_entropy,), MARGINS)]
    whose = "attacks"
    if not all(groups):
        if not context.traces:
            return None
        groups, whose = [[~trace.succeeded] for trace in context.traces.values()], "ascents of the check"
    total = len(groups[0][0])
    entropy, rival = (min(int(survived.sum()) for survived in group) for group in groups)
    detail = f"{whose} leave {entropy / total:.1%} by cross entropy, {rival / total:.1%} by margin or DLR, of {total}"
    return Verdict(grade_images(abs(entropy - rival), total, LOSSES_DIFFER, LOSSES_CONTRADICT), detail)


def noise(context: CheckContext) -> Verdict | None:
    """Random noise finds no errors that the attacks missed (Carlini et al. 2019, arXiv:1902.06705)."""
    if not (context.runs and context.has_ball and context.missed.any()):
        return None
    left, total = np.flatnonzero(context.missed), len(context.y)
    attack = Noise(context.threat, draws=NOISE_DRAWS, seed=context.seed)
    count = int(attack(context.classifier, context.x[left], context.y[left]).success.sum())
    detail = f"{NOISE_DRAWS} random changes find errors on {count} of {total} images that every attack missed"
    return Verdict(grade_images(count, total, 0.0, NOISE_FINDS), detail)


def _weaker(context: CheckContext, name: str, access: Sequence[str]) -> Verdict | None:
    """Compares, example by example, attacks of these kinds of access with white-box attacks."""
    others = [run.result for run in context.all_runs if run.attack.access in access]
    if not (others and any(run.takes_many_steps for run in context.all_runs)):
        return None
    # Attacks of one step are white-box attacks too.
    white = [run.result for run in context.all_runs if run.is_white_box]
    seen, unseen = (np.logical_or.reduce([result.success for result in group]) for group in (white, others))
    count, total = int(np.sum(unseen & ~seen)), len(seen)
    status: Status = "pass" if count < BEYOND_WHITE_BOX * total else "warn" if count < MASKED_SHARE * total else "fail"
    return Verdict(status, f"{count / total:.1%} of the examples fell to the {name} alone")
