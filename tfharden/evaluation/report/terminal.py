"""A report as aligned text."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfharden.evaluation.report.display import attack_names, checks, has_matrix, setting
from tfharden.evaluation.report.formats import TRANSFERRED, count, interval, kilobytes, mark, percent
from tfharden.evaluation.transfer_matrix import as_table


def table(content: Mapping[str, Any]) -> str:
    """The main numbers of what `for_display` gives: a row a model, then what attacks in a row left, and the checks."""
    models, attacks = content["models"], attack_names(content)
    header = ["model", "KB", "parameters", "clean %", *(f"{attack} %" for attack in attacks), "worst case %"]
    rows = [header]
    for model in models:
        found = {attack["name"]: percent(attack["robust_accuracy"]) + mark(attack) for attack in model["attacks"]}
        worst = model["worst_case"]
        size = [kilobytes(model["bytes"]), count(model["parameters"]), percent(model["clean_accuracy"])]
        worst_cell = f"{percent(worst['robust_accuracy']):>5} {interval(worst['interval'])}"
        rows.append([model["name"], *size, *(found.get(attack, "–") for attack in attacks), worst_cell])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    legend = [TRANSFERRED] if any(mark(attack) for model in models for attack in model["attacks"]) else []
    stages = [*told, ""] if (told := list(_stages(models))) else []
    beside = [*told, ""] if (told := list(_evasions(content.get("differential") or {}))) else []
    matrix = [as_table(content["transfer"]), ""] if has_matrix(content) else []
    return "\n".join([setting(content), "", *lines, "", *stages, *matrix, *beside, *legend, _checks_line(models)])


def _stages(models: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What each member of an attack that is several in a row left, a line an attack."""
    for model in models:
        for attack in model["attacks"]:
            if attack.get("stages"):
                left = (
                    f"{percent(stage['robust_accuracy_after'])} after {stage['name']}" for stage in attack["stages"]
                )
                yield f"{attack['name']} %, {model['name']}: {percent(model['clean_accuracy'])}, {', '.join(left)}"


def _evasions(content: Mapping[str, Any]) -> Iterator[str]:
    """On how many images each model errs while its source is right, a line a model."""
    for model in content.get("models", []):
        largest = max(attack["epsilon"] for attack in model["attacks"])
        found = (
            f"{percent(attack['evasive_rate'])} under {attack['attack']}"
            for attack in model["attacks"]
            if attack["epsilon"] == largest
        )
        yield f"wrong where {content['source']} is right %, {model['name']}: {', '.join(found)}"


def _checks_line(models: Sequence[Mapping[str, Any]]) -> str:
    """Which checks warn or fail, failures first."""
    made = checks(models)
    concerns = [
        f"{status.upper()} {name}: {check['name']} ({check['detail']})"
        for status in ("fail", "warn")
        for name, check in made
        if check["status"] == status
    ]
    return "checks: " + ("; ".join(concerns) or f"all {len(made)} pass" if made else "none made")
