"""Comparison of two evaluations of the same data under the same threat."""

from tfharden._text import aligned
from tfharden.evaluation.formats import MISSING, interval, percent
from tfharden.evaluation.report.display import setting
from tfharden.evaluation.results import EvaluationResult

# Name of model and measure to accuracy and interval.
Accuracies = dict[tuple[str, str], tuple[float, tuple[float, float]]]


def table(old: EvaluationResult, new: EvaluationResult) -> str:
    """A row a model and measure of what `for_display` gives: accuracy and interval of both, and points between them."""
    before, after = _accuracies(old), _accuracies(new)
    rows = [["model", "accuracy", "old %", "new %", "change"]]
    for name, measure in dict.fromkeys([*before, *after]):
        found = [accuracies.get((name, measure)) for accuracies in (before, after)]
        cells = [f"{percent(one[0])} {interval(one[1])}" if one else MISSING for one in found]
        one, other = found
        change = f"{100 * (other[0] - one[0]):+.1f}" if one and other else MISSING
        rows.append([name, measure, *cells, change])
    return f"{setting(new)}\n\n{aligned(rows, left=2)}"


def _accuracies(result: EvaluationResult) -> Accuracies:
    found: Accuracies = {}
    for model in result.models:
        name = str(model.name)
        found[name, "clean"] = model.clean_accuracy, model.clean_interval
        found |= {(name, attack.name): (attack.robust_accuracy, attack.interval) for attack in model.attacks}
        found[name, "worst case"] = model.worst_case.robust_accuracy, model.worst_case.interval
    return found
