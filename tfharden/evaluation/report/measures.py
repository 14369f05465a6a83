"""Measures of an evaluation: accuracies of each model, and their rows in report.csv."""

import csv
import io
from typing import Any, Literal, NamedTuple

from tfharden.evaluation.results import AttackSummary, EvaluationResult, ModelResult

COLUMNS = (
    *("data", "num_examples", "norm", "epsilon", "seed"),
    *("model", "path", "format", "sha256", "bytes", "parameters"),
    *("kind", "attack", "access", "accuracy", "low", "high"),
    *("success_rate", "queries_mean", "gradients_mean", "seconds", "minimum_median"),
)
"""Header of report.csv. It has a row per model and measure: `kind` is "clean", "attack" or "worst_case", `accuracy` the
share of all examples that stay right, [`low`, `high`] its 95% interval. What doesn't apply is empty. The first columns
repeat in every row, so that the rows of several reports can be joined."""


class Measure(NamedTuple):
    """One accuracy of a model, a share of all images, with its 95% interval. `attack` is None for the other kinds."""

    kind: Literal["clean", "attack", "worst_case"]
    name: str
    accuracy: float
    interval: tuple[float, float]
    attack: AttackSummary | None = None


def measures(model: ModelResult) -> list[Measure]:
    """Clean accuracy, accuracy under each attack, and the worst case."""
    return [
        Measure("clean", "clean", model.clean_accuracy, model.clean_interval),
        *(Measure("attack", found.name, found.robust_accuracy, found.interval, found) for found in model.attacks),
        Measure("worst_case", "worst case", model.worst_case.robust_accuracy, model.worst_case.interval),
    ]


def as_csv(result: EvaluationResult) -> str:
    """The text of report.csv."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    evaluation = {"data": result.data.name, "num_examples": result.data.num_examples, "seed": result.seed}
    evaluation |= {"norm": result.threat.norm, "epsilon": result.threat.epsilon}
    for model in result.models:
        facts = {name: getattr(model, name) for name in ("path", "format", "sha256", "bytes", "parameters")}
        for measure in measures(model):
            row = evaluation | facts | {"model": model.name} | _cells(measure)
            writer.writerow({column: _safe_cell(value) for column, value in row.items()})
    return buffer.getvalue()


def _cells(measure: Measure) -> dict[str, Any]:
    low, high = measure.interval
    cells: dict[str, Any] = {"kind": measure.kind, "accuracy": measure.accuracy, "low": low, "high": high}
    if measure.attack is not None:
        entries = measure.attack.to_json()
        columns = ("access", "success_rate", "queries_mean", "gradients_mean", "seconds", "minimum_median")
        cells |= {"attack": measure.name} | {column: entries.get(column) for column in columns}
    return cells


def _safe_cell(value: Any) -> Any:  # noqa: ANN401
    """Keeps a spreadsheet from reading text as a formula."""
    return f"'{value}" if isinstance(value, str) and value.lstrip().startswith(("=", "+", "-", "@")) else value
