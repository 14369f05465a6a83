"""Text that is safe to show, and phrases that page and terminal share."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfharden.evaluation.formats import count
from tfharden.evaluation.results import AttackSummary, CheckResult, EvaluationResult, Record


def for_display(result: EvaluationResult) -> EvaluationResult:
    """A copy that is safe to show, in which models have different names: their paths, if need be."""
    safe = printable(result)
    names = [model.name or pathlib.PurePath(model.path).name for model in safe.models]
    models = [
        dataclasses.replace(model, name=name if names.count(name) == 1 else model.path or name)
        for name, model in zip(names, safe.models, strict=True)
    ]
    return dataclasses.replace(safe, models=tuple(models))


def printable(value: Any) -> Any:  # noqa: ANN401
    """A copy without characters that control a terminal or the direction of text: escapes, marks, half characters."""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in value)
    if isinstance(value, Mapping):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(printable, value))
    if isinstance(value, Record):
        return dataclasses.replace(value, **{name: printable(item) for name, item in vars(value).items()})
    return value.item() if isinstance(value, np.generic) else value


def setting(result: EvaluationResult) -> str:
    """Threat and data in one line."""
    threat, data = result.threat, result.data
    return f"{threat.norm}, epsilon {threat.epsilon:.4g}, {count(data.num_examples)} images of {data.name}"


def checks(result: EvaluationResult) -> list[tuple[str, CheckResult]]:
    """Every check, with the name of its model."""
    return [(str(model.name), check) for model in result.models for check in model.checks]


def transfer_mark(attack: AttackSummary) -> str:
    """A dagger for results that were not found on the model itself."""
    return "†" if attack.access == "transfer" else ""


def transfer_legend(result: EvaluationResult) -> str:
    """The meaning of that mark; empty if nothing has it."""
    is_marked = any(transfer_mark(attack) for model in result.models for attack in model.attacks)
    return "† by transfer: examples made on another model, tried on this one" if is_marked else ""
