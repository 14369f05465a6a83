"""What an evaluation found: as JSON, CSV and a self-contained HTML page, and as a table for the terminal."""

import contextlib
import csv
import dataclasses
import io
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from tfharden import _io
from tfharden.evaluation.probes.fooling import FoolingImages
from tfharden.evaluation.report import cost_plots, curve_plots, display, formats, plots, probe_plots, terminal

COLUMNS = (
    *("data", "num_examples", "norm", "epsilon", "seed"),
    *("model", "path", "format", "sha256", "bytes", "parameters"),
    *("kind", "attack", "access", "accuracy", "low", "high"),
    *("success_rate", "queries_mean", "gradients_mean", "seconds", "minimum_median"),
)
"""Header of report.csv. It has a row per model and measure: `kind` is "clean", "attack" or "worst_case", `accuracy` the
share of all examples that stay right, [`low`, `high`] its 95% interval. What doesn't apply is empty. The first columns
repeat in every row, so that the rows of several reports can be joined."""


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

    def save(self, directory: _io.Path) -> None:
        """Writes report.json, report.csv and report.html into `directory`, which is made; all three, or none.

        Raises:
            InputError: they can't be written.
            ValueError: a number is NaN or infinite.
        """
        texts = {"report.json": self._json(), "report.csv": self._csv(), "report.html": self._html()}
        with contextlib.ExitStack() as stack:
            for name, text in texts.items():
                beside = stack.enter_context(_io.replacing(pathlib.Path(directory) / name))
                beside.write_text(text, encoding="utf-8", newline="")

    def table(self) -> str:
        """The main numbers as aligned text: a row a model, then what the members of AutoAttack left, and the checks."""
        return terminal.table(display.for_display(self.content))

    def _json(self) -> str:
        return json.dumps(self.content, indent=2, allow_nan=False, default=_plain) + "\n"

    def _csv(self) -> str:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in measures(display.for_display(self.content)):
            writer.writerow({column: _safe_cell(value) for column, value in row.items()})
        return buffer.getvalue()

    def _html(self) -> str:
        content = display.for_display(self.content)
        here = pathlib.Path(__file__).parent
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(here),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        for name in ("percent", "interval", "kilobytes", "count", "decimal", "short", "mark"):
            environment.filters[name] = getattr(formats, name)
        models = content["models"]
        sized = [model for model in models if model["bytes"]]
        timed = [model for model in models if model.get("latency")]
        bounds = content["threat"]["bounds"]
        return environment.get_template("report.html.j2").render(
            **{"transfer": None, "differential": None} | content,
            setting=display.setting(content),
            transferred=formats.TRANSFERRED,
            attack_names=display.attack_names(content),
            ranking=sorted(models, key=lambda model: -model["worst_case"]["robust_accuracy"]),
            concerns=[status for _, check in display.checks(models) if (status := check["status"]) != "pass"],
            size_chart=Markup(cost_plots.accuracy_against(cost_plots.SIZE, sized)) if sized else "",
            time_chart=Markup(cost_plots.accuracy_against(cost_plots.TIME, timed)) if timed else "",
            fronts={"size": cost_plots.front(cost_plots.SIZE, sized), "time": cost_plots.front(cost_plots.TIME, timed)},
            curve_chart=curve_plots.curves(models, content["threat"]["epsilon"]),
            histograms=curve_plots.histograms(models),
            attack_chart=Markup(plots.accuracy_by_attack(models)) if models else "",
            panels=[_panel(panel, bounds) for panel in self.gallery],
            heats=probe_plots.heat_rows(content["transfer"]) if display.has_matrix(content) else [],
            lines=probe_plots.lines(models),
            fooling=[
                (
                    display.printable(one.model),
                    display.printable(one.probe),
                    probe_plots.fooling_tiles(one.found, bounds),
                )
                for one in self.fooling
            ],
        )


def _plain(value: Any) -> Any:  # noqa: ANN401
    """What JSON can hold, of a NumPy number or array."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"a report can't hold a {type(value).__name__}")


def measures(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
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
        "model": display.printable(panel.model),
        "attack": display.printable(panel.attack),
        "scale": scale,
        "examples": list(zip(tiles, classes, strict=True)),
    }
