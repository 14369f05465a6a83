"""Charts of the probes that count images: accuracy against epsilon, and confidence."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tfharden.evaluation.report import plots
from tfharden.evaluation.report.plots import COLOURS, TEXT, WIDTH
from tfharden.evaluation.results import AnswerCounts, ConfidenceResult, CurveResult, ModelResult

HEIGHT, LEFT, RIGHT, TOP, BOTTOM, BETWEEN = 300, 48, 150, 16, 48, 40
# Colour and dashes tell lines apart, also without colour.
STYLES = [("clean", "-"), ("worst", "-"), ("attack", "-"), ("muted", "-"), ("clean", "--"), ("worst", "--")]


def curves(models: Sequence[ModelResult]) -> list[tuple[str, CurveResult]]:
    """Names and curves of the models of which one was drawn."""
    return [(str(model.name), model.probes["curve"]) for model in models if "curve" in model.probes]


def curve_chart(models: Sequence[ModelResult], epsilon: float) -> Markup | str:
    """The chart of these curves; empty if there are none."""
    found = curves(models)
    return Markup(accuracy_against_epsilon(found, epsilon)) if found else ""


@plots.own_settings()
def accuracy_against_epsilon(found: Sequence[tuple[str, CurveResult]], epsilon: float) -> str:
    """SVG of robust accuracy at several radii, a line a model, in its 95% band.

    Args:
        found: names of models and their curves.
        epsilon: the threat's own, which is marked.
    """
    figure, axes = plots.new_figure(HEIGHT, left=LEFT, right=RIGHT, top=TOP, bottom=BOTTOM)
    ends = []
    for index, (_, curve) in enumerate(found):
        colour, dashes = STYLES[index % len(STYLES)]
        low, high = 100 * np.array(curve.intervals).T
        accuracy = 100 * np.array(curve.robust_accuracy)
        axes.fill_between(curve.epsilons, low, high, color=COLOURS[colour], alpha=0.15, linewidth=0)
        axes.plot(curve.epsilons, accuracy, dashes, color=COLOURS[colour], linewidth=2, marker="o", markersize=4)
        ends.append(accuracy[-1])
    last = max(max(curve.epsilons) for _, curve in found)
    axes.axvline(epsilon, color=COLOURS["muted"], linewidth=1)
    axes.set(xlim=(0, last), ylim=(-2, 102), xlabel="epsilon; the line marks that of the threat")
    plots.percent_axis(axes.yaxis)
    beside = {**TEXT, "transform": axes.get_yaxis_transform()}
    for index, height in enumerate(plots.spread(ends, 7.0, 2.0, 98.0)):
        colour, _ = STYLES[index % len(STYLES)]
        axes.text(1.03, height, plots.shorten(found[index][0], 20), **beside | {"color": COLOURS[colour]})
    return plots.as_svg(figure, "curve")


def histograms(models: Sequence[ModelResult]) -> list[dict[str, Any]]:
    """What the page shows of each model whose confidence was looked at: its name, its chart and its numbers."""
    found = {model.name: model.probes.get("confidence") for model in models}
    return [
        {"model": name, "chart": Markup(confidence_bars(confidence, f"confidence{index}"))} | vars(confidence)
        for index, (name, confidence) in enumerate(found.items())
        if confidence
    ]


@plots.own_settings()
def confidence_bars(found: ConfidenceResult, salt: str) -> str:
    """SVG of how many answers, right and wrong, have how much probability, on clean and on adversarial images.

    Args:
        found: the confidence of one model.
        salt: what tells this figure's ids from those of others.
    """
    height, left, right, top, bottom = 220, 44, 12, 34, 48
    each = (WIDTH - left - BETWEEN - right) / 2
    figure, clean = plots.new_figure(height, left=left, right=right + each + BETWEEN, top=top, bottom=bottom)
    place = ((left + each + BETWEEN) / WIDTH, bottom / height, each / WIDTH, 1 - (top + bottom) / height)
    adversarial = plots.add_axes(figure, place)
    most = max(np.add(counts.right, counts.wrong).max() for counts in (found.clean, found.adversarial))
    for axes, kind, counts in ((clean, "clean", found.clean), (adversarial, "adversarial", found.adversarial)):
        _bars(axes, np.array(found.edges), counts)
        axes.set(xlim=(0, 1), ylim=(0, 1.05 * most), xlabel="probability of the answer", xticks=[0, 0.5, 1])
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_title(f"{kind} images", loc="left", fontsize=plots.FONT, color=COLOURS["ink"], parse_math=False)
    return plots.as_svg(figure, salt)


def _bars(axes: Axes, edges: np.ndarray, counts: AnswerCounts) -> None:
    """Right answers below, wrong ones on top of them, hatched so that they stand out without colour."""
    middle, width = (edges[1:] + edges[:-1]) / 2, 0.9 * np.diff(edges)
    axes.bar(middle, counts.right, width, color=COLOURS["clean"])
    axes.bar(
        middle, counts.wrong, width, bottom=counts.right, color=COLOURS["worst"], hatch="//",
        edgecolor=COLOURS["paper"], linewidth=0,
    )  # fmt: skip
