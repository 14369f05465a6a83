"""Evaluation as one self-contained HTML page."""

import pathlib
from collections.abc import Sequence

import jinja2
from markupsafe import Markup

from tfharden.evaluation import formats
from tfharden.evaluation.report import cost_plots, display, plots, probe_plots
from tfharden.evaluation.report.panels import Fooling, Panel
from tfharden.evaluation.results import EvaluationResult

FILTERS = ("percent", "interval", "kilobytes", "count", "decimal", "short")


def as_page(
    result: EvaluationResult, gallery: Sequence[Panel] = (), fooling: Sequence[Fooling] = (), *, has_images: bool = True
) -> str:
    """The text of report.html, from a result that `for_display` gives. It says so if the images are not at hand."""
    models, curves = result.models, probe_plots.curves(result.models)
    sized = [model for model in models if model.bytes]
    timed = [model for model in models if model.latency]
    bounds = result.threat.bounds
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            **vars(result),
            attack_names=result.attack_names,
            setting=display.setting(result),
            transferred=display.transfer_legend(result),
            ranking=sorted(models, key=lambda model: -model.worst_case.robust_accuracy),
            concerns=[check.status for _, check in display.checks(result) if check.status != "pass"],
            any_minimises=any(attack.minimum_median is not None for model in models for attack in model.attacks),
            size_chart=Markup(cost_plots.accuracy_against(cost_plots.SIZE, sized)) if sized else "",
            time_chart=Markup(cost_plots.accuracy_against(cost_plots.TIME, timed)) if timed else "",
            fronts={"size": cost_plots.front(cost_plots.SIZE, sized), "time": cost_plots.front(cost_plots.TIME, timed)},
            attack_chart=Markup(plots.accuracy_by_attack(models)) if models else "",
            curves=curves,
            curve_chart=Markup(probe_plots.accuracy_against_epsilon(curves, result.threat.epsilon)) if curves else "",
            histograms=probe_plots.histograms(models),
            lines=probe_plots.lines(models),
            heats=probe_plots.heat_rows(result.transfer) if result.transfer else [],
            panels=[panel.for_page(bounds) for panel in gallery],
            fooling=[images.for_page(bounds) for images in fooling],
            has_images=has_images,
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(formats, name) for name in FILTERS} | {"mark": display.transfer_mark}
    return environment
