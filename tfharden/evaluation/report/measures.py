"""Evaluation as rows of numbers: report.csv."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from tfharden.evaluation.results import EvaluationResult

COLUMNS = (
    *("data", "num_examples", "norm", "epsilon", "seed"),
    *("model", "path", "format", "sha256", "bytes", "parameters"),
    *("kind", "attack", "access", "accuracy", "low", "high"),
    *("success_rate", "queries_mean", "gradients_mean", "seconds", "minimum_median"),
)
"""Header of report.csv. It has a row per model and measure: `kind` is "clean", "attack" or "worst_case", `accuracy` the
share of all examples that stay right, [`low`, `high`] its 95% interval. What doesn't apply is empty. The first columns
repeat in every row, so that the rows of several reports can be joined."""


def measures(result: EvaluationResult) -> Iterator[dict[str, Any]]:
    """Rows of report.csv."""
    run = {"data": result.data.name, "num_examples": result.data.num_examples, "seed": result.seed}
    run |= {"norm": result.threat.norm, "epsilon": result.threat.epsilon}
    for model in result.models:
        shared = run | {"model": model.name}
        shared |= {name: getattr(model, name) for name in ("path", "format", "sha256", "bytes", "parameters")}
        yield shared | _measure("clean", model.clean_accuracy, model.clean_interval)
        for attack in model.attacks:
            costs = {name: getattr(attack, name) for name in ("success_rate", "queries_mean", "gradients_mean")}
            costs |= {"seconds": attack.seconds, "minimum_median": attack.to_json().get("minimum_median")}
            measure = _measure("attack", attack.robust_accuracy, attack.interval)
            yield shared | measure | {"attack": attack.name, "access": attack.access} | costs
        yield shared | _measure("worst_case", model.worst_case.robust_accuracy, model.worst_case.interval)


def as_csv(result: EvaluationResult) -> str:
    """The text of report.csv."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in measures(result):
        writer.writerow({column: _safe_cell(value) for column, value in row.items()})
    return buffer.getvalue()


def _measure(kind: str, accuracy: float, interval: tuple[float, float]) -> dict[str, Any]:
    low, high = interval
    return {"kind": kind, "accuracy": accuracy, "low": low, "high": high}


def _safe_cell(value: Any) -> Any:  # noqa: ANN401
    """Keeps a spreadsheet from reading text as a formula."""
    return f"'{value}" if isinstance(value, str) and value.lstrip().startswith(("=", "+", "-", "@")) else value
