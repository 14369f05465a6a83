"""What an evaluation found: as JSON, CSV and a self-contained HTML page, and as a table for the terminal."""

import contextlib
import csv
import dataclasses
import io
import json
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from tfharden import files
from tfharden.attacks.fooling import FoolingImages
from tfharden.evaluation import plots, probe_plots
from tfharden.evaluation.transfer_matrix import as_table

COLUMNS = (
    *("data", "num_examples", "norm", "epsilon", "seed"),
    *("model", "path", "format", "sha256", "bytes", "parameters"),
    *("kind", "attack", "access", "accuracy", "low", "high"),
    *("success_rate", "queries_mean", "gradients_mean", "seconds", "minimum_median"),
)
"""Header of report.csv. It has a row per model and measure: `kind` is "clean", "attack" or "worst_case", `accuracy` the
share of all examples that stay right, [`low`, `high`] its 95% interval. What doesn't apply is empty. The first columns
repeat in every row, so that the rows of several reports can be joined."""

_TRANSFERRED = "† by transfer: examples made on another model, tried on this one"


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """Examples of one attack on one model, for the page's gallery.

    Attributes:
        model: the model's name, as the page shows it.
        attack: the attack's name.
        clean: images [n, h, w, c] within the threat's bounds.
        adversarial: what the attack made of them, of the same shape.
        labels: true classes [n].
        clean_predictions: classes [n] that the model predicts for `clean`.
        adversarial_predictions: classes [n] that it predicts for `adversarial`.
    """

    model: str
    attack: str
    clean: np.ndarray
    adversarial: np.ndarray
    labels: np.ndarray
    clean_predictions: np.ndarray
    adversarial_predictions: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Fooling:
    """Fooling images of one model, for the page.

    Attributes:
        model: the model's name, as the page shows it.
        probe: how they were made: "fooling-gradient" or "fooling-evolution".
        found: images [n, h, w, c] within the threat's bounds, their classes and confidences.
    """

    model: str
    probe: str
    found: FoolingImages


@dataclasses.dataclass(eq=False)
class Report:
    """The result of an evaluation.

    Attributes:
        content: what report.json holds, of the schema "tfharden.report/1"; NumPy numbers are welcome. A model may have
            a "name" to show (by default its file's name) and a "role"; one that is no file has a name, and None for
            its path, bytes and sha256.
        gallery: examples to show on the page.
        fooling: fooling images to show on the page.
    """

    content: dict[str, Any]
    gallery: Sequence[Panel] = ()
    fooling: Sequence[Fooling] = ()

    def save(self, directory: files.Path) -> None:
        """Writes report.json, report.csv and report.html into `directory`, which is made; all three, or none.

        Raises:
            InputError: they can't be written.
            ValueError: a number is NaN or infinite.
        """
        texts = {"report.json": self._json(), "report.csv": self._csv(), "report.html": self._html()}
        with contextlib.ExitStack() as stack:
            for name, text in texts.items():
                beside = stack.enter_context(files.replacing(pathlib.Path(directory) / name))
                beside.write_text(text, encoding="utf-8", newline="")

    def table(self) -> str:
        """The main numbers as aligned text: a row a model, then a line on the checks."""
        content = _for_display(self.content)
        models, attacks = content["models"], _attack_names(content)
        header = ["model", "KB", "parameters", "clean %", *(f"{attack} %" for attack in attacks), "worst case %"]
        rows = [header]
        for model in models:
            found = {attack["name"]: _percent(attack["robust_accuracy"]) + _mark(attack) for attack in model["attacks"]}
            worst = model["worst_case"]
            size = [_kilobytes(model["bytes"]), _count(model["parameters"]), _percent(model["clean_accuracy"])]
            worst_cell = f"{_percent(worst['robust_accuracy']):>5} {_interval(worst['interval'])}"
            rows.append([model["name"], *size, *(found.get(attack, "–") for attack in attacks), worst_cell])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
        legend = [_TRANSFERRED] if any(_mark(attack) for model in models for attack in model["attacks"]) else []
        matrix = [as_table(content["transfer"]), ""] if _has_matrix(content) else []
        return "\n".join([_setting(content), "", *lines, "", *matrix, *legend, _checks_line(models)])

    def _json(self) -> str:
        return json.dumps(self.content, indent=2, allow_nan=False, default=_plain) + "\n"

    def _csv(self) -> str:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in _measures(_for_display(self.content)):
            writer.writerow({column: _safe_cell(value) for column, value in row.items()})
        return buffer.getvalue()

    def _html(self) -> str:
        content = _for_display(self.content)
        here = pathlib.Path(__file__).parent
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(here),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"percent": _percent, "interval": _interval, "kilobytes": _kilobytes, "count": _count}
        environment.filters |= {"decimal": _decimal, "short": _short, "mark": _mark}
        models = content["models"]
        sized = [model for model in models if model["bytes"]]
        bounds = content["threat"]["bounds"]
        return environment.get_template("report.html.j2").render(
            **{"transfer": None, "differential": None} | content,
            setting=_setting(content),
            transferred=_TRANSFERRED,
            attack_names=_attack_names(content),
            ranking=sorted(models, key=lambda model: -model["worst_case"]["robust_accuracy"]),
            concerns=[status for _, check in _checks(models) if (status := check["status"]) != "pass"],
            size_chart=Markup(plots.accuracy_against_size(sized)) if sized else "",
            attack_chart=Markup(plots.accuracy_by_attack(models)) if models else "",
            panels=[_panel(panel, bounds) for panel in self.gallery],
            heats=probe_plots.heat_rows(content["transfer"]) if _has_matrix(content) else [],
            lines=probe_plots.lines(models),
            fooling=[
                (_printable(one.model), _printable(one.probe), probe_plots.fooling_tiles(one.found, bounds))
                for one in self.fooling
            ],
        )


def _for_display(content: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a report's content that is safe to show, in which each model has a "name": its path, if need be."""
    shown = _printable(content)
    names = [model.get("name") or pathlib.PurePath(model["path"]).name for model in shown["models"]]
    for model, name in zip(shown["models"], names, strict=True):
        model["name"] = name if names.count(name) == 1 else model["path"] or name
    return shown


def _printable(value: Any) -> Any:  # noqa: ANN401
    """Replaces what could steer a terminal or turn the text around (escapes, direction marks, half characters)."""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in value)
    if isinstance(value, Mapping):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_printable(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _plain(value: Any) -> Any:  # noqa: ANN401
    """What JSON can hold, of a NumPy number or array."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a report can't hold a {type(value).__name__}")


def _measures(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of report.csv."""
    data, threat = content["data"], content["threat"]
    run = {"data": data["name"], "num_examples": data["num_examples"], "seed": content["seed"]}
    run |= {"norm": threat["norm"], "epsilon": threat["epsilon"]}
    for model in content["models"]:
        shared = run | {"model": model["name"]}
        shared |= {key: model[key] for key in ("path", "format", "sha256", "bytes", "parameters")}
        low, high = model["clean_interval"]
        yield shared | {"kind": "clean", "accuracy": model["clean_accuracy"], "low": low, "high": high}
        for attack in model["attacks"]:
            low, high = attack["interval"]
            costs = {key: attack[key] for key in ("success_rate", "queries_mean", "gradients_mean", "seconds")}
            costs["minimum_median"] = attack.get("minimum_median")
            measure = {"kind": "attack", "attack": attack["name"], "access": attack["access"]}
            yield shared | measure | {"accuracy": attack["robust_accuracy"], "low": low, "high": high} | costs
        worst = model["worst_case"]
        low, high = worst["interval"]
        yield shared | {"kind": "worst_case", "accuracy": worst["robust_accuracy"], "low": low, "high": high}


def _safe_cell(value: Any) -> Any:  # noqa: ANN401
    """Keeps a spreadsheet from reading text as a formula."""
    return f"'{value}" if isinstance(value, str) and value.lstrip().startswith(("=", "+", "-", "@")) else value


def _attack_names(content: Mapping[str, Any]) -> list[str]:
    """Names of all models' attacks, in the order in which they first appear."""
    return list(dict.fromkeys(attack["name"] for model in content["models"] for attack in model["attacks"]))


def _mark(attack: Mapping[str, Any]) -> str:
    """A dagger behind what was not found on the model itself."""
    return "†" if attack["access"] == "transfer" else ""


def _setting(content: Mapping[str, Any]) -> str:
    """Threat and data in one line."""
    threat, data = content["threat"], content["data"]
    return f"{threat['norm']}, epsilon {threat['epsilon']:.4g}, {_count(data['num_examples'])} images of {data['name']}"


def _checks(models: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(model["name"], check) for model in models for check in model["checks"]]


def _checks_line(models: Sequence[Mapping[str, Any]]) -> str:
    """Which checks warn or fail, failures first."""
    checks = _checks(models)
    concerns = [
        f"{status.upper()} {name}: {check['name']} ({check['detail']})"
        for status in ("fail", "warn")
        for name, check in checks
        if check["status"] == status
    ]
    return "checks: " + ("; ".join(concerns) or f"all {len(checks)} pass" if checks else "none made")


def _has_matrix(content: Mapping[str, Any]) -> bool:
    return "targets" in (content.get("transfer") or {})


def _panel(panel: Panel, bounds: Sequence[float]) -> dict[str, Any]:
    """What the page shows of a panel."""
    clean, adversarial = (np.asarray(images, np.float64) for images in (panel.clean, panel.adversarial))
    change = adversarial - clean
    scale = float(np.abs(change).max(initial=0)) or 1.0
    low, high = bounds
    columns = zip(clean, adversarial, change, strict=True)
    tiles = [
        (plots.image_tile(x, (low, high)), plots.image_tile(x_adv, (low, high)), plots.change_tile(delta, scale))
        for x, x_adv, delta in columns
    ]
    predictions = (panel.labels, panel.clean_predictions, panel.adversarial_predictions)
    classes = [tuple(map(int, example)) for example in zip(*predictions, strict=True)]
    return {
        "model": _printable(panel.model),
        "attack": _printable(panel.attack),
        "scale": scale,
        "examples": list(zip(tiles, classes, strict=True)),
    }


def _percent(ratio: float | None) -> str:
    return "–" if ratio is None else f"{100 * ratio:.1f}"


def _interval(bounds: Sequence[float]) -> str:
    return "[{:.1f}, {:.1f}]".format(*(100 * bound for bound in bounds))


def _kilobytes(size: int | None) -> str:
    return "–" if size is None else f"{size / plots.KILOBYTE:,.1f}"


def _count(number: float | None) -> str:
    return "–" if number is None else f"{number:,.0f}"


def _decimal(number: float | None) -> str:
    return "–" if number is None else f"{number:,.1f}"


def _short(value: Any) -> str:  # noqa: ANN401
    """A number to four digits; anything else as it is."""
    if value is None:
        return "–"
    is_fraction = isinstance(value, float) and math.isfinite(value)
    return f"{value:.4g}" if is_fraction else str(value)
