"""Evaluations as aligned text: one alone, and two side by side."""

from collections.abc import Iterator

from tfharden._text import aligned
from tfharden.evaluation.formats import MISSING, count, interval, kilobytes, percent
from tfharden.evaluation.report.display import checks, setting, transfer_legend, transfer_mark
from tfharden.evaluation.report.measures import measures
from tfharden.evaluation.results import EvaluationResult


def table(result: EvaluationResult) -> str:
    """The main numbers of what `for_display` gives: a row a model, then attacks in a row, and the checks."""
    parts = [
        [setting(result)],
        [aligned(rows(result))],
        list(_stages(result)),
        [result.transfer.table()] if result.transfer else [],
        list(_evasions(result)),
    ]
    end = [*filter(None, [transfer_legend(result)]), _checks_line(result)]
    return "\n".join([line for part in parts if part for line in [*part, ""]] + end)


def rows(result: EvaluationResult) -> list[list[str]]:
    """Header and a row a model: size, clean accuracy, robust accuracy under each attack, worst case."""
    names = result.attack_names
    found = [["model", "KB", "parameters", "clean %", *(f"{name} %" for name in names), "worst case %"]]
    for model in result.models:
        left = {attack.name: percent(attack.robust_accuracy) + transfer_mark(attack) for attack in model.attacks}
        size = [kilobytes(model.bytes), count(model.parameters), percent(model.clean_accuracy)]
        worst = f"{percent(model.worst_case.robust_accuracy):>5} {interval(model.worst_case.interval)}"
        found.append([str(model.name), *size, *(left.get(name, MISSING) for name in names), worst])
    return found


def comparison(old: EvaluationResult, new: EvaluationResult) -> str:
    """A row a model and measure of what `for_display` gives: accuracy and interval of both, and points between them."""
    before, after = (
        {(str(model.name), measure.name): measure for model in result.models for measure in measures(model)}
        for result in (old, new)
    )
    found = [["model", "accuracy", "old %", "new %", "change"]]
    for key in dict.fromkeys([*before, *after]):
        one, other = before.get(key), after.get(key)
        cells = [f"{percent(side.accuracy)} {interval(side.interval)}" if side else MISSING for side in (one, other)]
        change = f"{100 * (other.accuracy - one.accuracy):+.1f}" if one and other else MISSING
        found.append([*key, *cells, change])
    return f"{setting(new)}\n\n{aligned(found, left=2)}"


def _stages(result: EvaluationResult) -> Iterator[str]:
    """Robust accuracy after each member of an attack that is several in a row, a line an attack."""
    for model in result.models:
        for attack in model.attacks:
            if attack.stages:
                left = (f"{percent(stage.robust_accuracy_after)} after {stage.name}" for stage in attack.stages)
                yield f"{attack.name} %, {model.name}: {percent(model.clean_accuracy)}, {', '.join(left)}"


def _evasions(result: EvaluationResult) -> Iterator[str]:
    """Shares of the images on which a model errs while its source is right, a line a model."""
    if result.differential:
        for model in result.differential.models:
            found = (f"{percent(attack.evasive_rate)} under {attack.attack}" for attack in model.at_largest_epsilon)
            yield f"wrong where {result.differential.source} is right %, {model.name}: {', '.join(found)}"


def _checks_line(result: EvaluationResult) -> str:
    """The checks that warn or fail, failures first."""
    made = checks(result)
    concerns = [
        f"{status.upper()} {name}: {check.name} ({check.detail})"
        for status in ("fail", "warn")
        for name, check in made
        if check.status == status
    ]
    return "checks: " + ("; ".join(concerns) or f"all {len(made)} pass" if made else "none made")
