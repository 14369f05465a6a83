"""A report's content made ready to be shown, and what page and terminal both say of it."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfharden.evaluation.report.formats import count


def for_display(content: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a report's content that is safe to show, in which each model has a "name": its path, if need be."""
    safe = printable(content)
    names = [model.get("name") or pathlib.PurePath(model["path"]).name for model in safe["models"]]
    for model, name in zip(safe["models"], names, strict=True):
        model["name"] = name if names.count(name) == 1 else model["path"] or name
    return safe


def printable(value: Any) -> Any:  # noqa: ANN401
    """Replaces what could steer a terminal or turn the text around (escapes, direction marks, half characters)."""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in value)
    if isinstance(value, Mapping):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [printable(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def setting(content: Mapping[str, Any]) -> str:
    """Threat and data in one line."""
    threat, data = content["threat"], content["data"]
    return f"{threat['norm']}, epsilon {threat['epsilon']:.4g}, {count(data['num_examples'])} images of {data['name']}"


def attack_names(content: Mapping[str, Any]) -> list[str]:
    """Names of all models' attacks, in the order in which they first appear."""
    return list(dict.fromkeys(attack["name"] for model in content["models"] for attack in model["attacks"]))


def checks(models: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Every check, with the name of the model that it is of."""
    return [(model["name"], check) for model in models for check in model["checks"]]


def has_matrix(content: Mapping[str, Any]) -> bool:
    """Whether transfer was looked at."""
    return "targets" in (content.get("transfer") or {})
