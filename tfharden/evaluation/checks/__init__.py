"""Checks of an evaluation. Where one fails, the numbers are not to be trusted.

A check is a function from a `CheckContext` to a `Verdict`, or to None where it does not apply. `register` adds another:

    @checks.register("enough images")
    def enough_images(context):
        return Verdict("pass" if len(context.y) >= 64 else "warn", f"{len(context.y)} images")
"""

from collections.abc import Callable

from tfharden._registry import Registry
from tfharden.evaluation.checks import gradients, optimisation, outputs, planted, relations
from tfharden.evaluation.checks.context import CheckContext, Verdict
from tfharden.evaluation.results import CheckResult

__all__ = ["KNOWN", "CheckContext", "Verdict", "register", "run"]

Check = Callable[[CheckContext], Verdict | None]

KNOWN: Registry[Check] = Registry(
    "check",
    {
        "scores": outputs.scores,
        "gradients of the file": gradients.twin_of_file,
        "randomness": outputs.randomness,
        "inference mode": outputs.inference_mode,
        "stable predictions": outputs.stability,
        "gradients": gradients.during_attacks,
        "lost examples": optimisation.lost_examples,
        "one step not stronger than many": relations.one_step,
        "black box not stronger than white box": relations.black_box,
        "transfer not stronger than white box": relations.transfer,
        "noise finds nothing new": relations.noise,
        "cross entropy against margin": relations.losses,
        "gradients at the images": gradients.at_the_images,
        "silent success": optimisation.silent_success,
        "complete optimisation": optimisation.completeness,
        "unbounded attack": optimisation.unbounded,
        "accuracy falls with epsilon": optimisation.monotony,
        "planted examples are found": planted.planted,
    },
)
register = KNOWN.register


def run(context: CheckContext, progress: Callable[[int, int], None] = lambda done, total: None) -> list[CheckResult]:
    """The results of all checks that apply, in the order of `KNOWN`. `progress` is told (done, total)."""
    found = []
    for done, (name, check) in enumerate(KNOWN.items(), start=1):
        verdict = check(context)
        progress(done, len(KNOWN))
        if verdict is not None:
            found.append(CheckResult(name=name, status=verdict.status, detail=verdict.detail))
    return found
