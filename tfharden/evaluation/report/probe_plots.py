"""Charts of the probes: accuracy against epsilon, confidence and linearity; and the heat map of transfer."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tfharden.evaluation.report import plots
from tfharden.evaluation.report.plots import COLOURS, TEXT
from tfharden.evaluation.results import (
    AnswerCounts,
    ConfidenceResult,
    CurveResult,
    LinearityResult,
    ModelResult,
    TransferResult,
)

# Colour and dashes tell lines apart, also without colour.
STYLES = [("clean", "-"), ("worst", "-"), ("attack", "-"), ("muted", "-"), ("clean", "--"), ("worst", "--")]


def curves(models: Sequence[ModelResult]) -> list[tuple[str, CurveResult]]:
    """Names and curves of the models that have a curve."""
    return [(str(model.name), model.probes["curve"]) for model in models if "curve" in model.probes]


def histograms(models: Sequence[ModelResult]) -> list[dict[str, Any]]:
    """Name, chart and numbers of each model whose confidence was measured."""
    return _charts(models, "confidence", confidence_bars)


def lines(models: Sequence[ModelResult]) -> list[dict[str, Any]]:
    """Name, chart and numbers of each model whose linearity was measured."""
    return _charts(models, "linearity", linearity_curves)


def heat_rows(transfer: TransferResult) -> list[dict[str, Any]]:
    """Rows of a transfer matrix with their cells: a share, and whether source and target are one model."""
    own = [None, None, *transfer.sources]
    return [
        {
            "name": name,
            "cells": [
                {"share": share, "own": source == target}
                for target, share in zip(transfer.targets, shares, strict=True)
            ],
        }
        for source, (name, shares) in zip(own, transfer.rows, strict=True)
    ]


@plots.own_settings()
def accuracy_against_epsilon(found: Sequence[tuple[str, CurveResult]], epsilon: float) -> str:
    """SVG of robust accuracy at several radii, a line a model, in its 95% band.

    Args:
        found: names of models and their curves.
        epsilon: the threat's own, which is marked.
    """
    figure, axes = plots.new_figure(300, left=48, right=150, top=16, bottom=48)
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


@plots.own_settings()
def confidence_bars(found: ConfidenceResult, salt: str) -> str:
    """SVG of the numbers of right and wrong answers by their probability, on clean and on adversarial images.

    `salt` tells this figure's ids from those of others.
    """
    figure, pair = plots.new_pair(220, left=44, between=40, right=12)
    most = max(np.add(counts.right, counts.wrong).max() for counts in (found.clean, found.adversarial))
    for axes, kind, counts in zip(pair, ("clean", "adversarial"), (found.clean, found.adversarial), strict=True):
        _bars(axes, np.array(found.edges), counts)
        axes.set(xlim=(0, 1), ylim=(0, 1.05 * most), xlabel="probability of the answer", xticks=[0, 0.5, 1])
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        plots.set_title(axes, f"{kind} images")
    return plots.as_svg(figure, salt)


@plots.own_settings()
def linearity_curves(found: LinearityResult, salt: str) -> str:
    """SVG of the mean margin, and of one image's logits, along the steepest line.

    `salt` tells this figure's ids from those of others.
    """
    offsets = found.offsets
    epsilon = offsets[-1] / found.reach
    figure, (margin, logits) = plots.new_pair(280, left=40, between=48, right=44)
    margin.plot(offsets, found.margin_mean, color=COLOURS["clean"], linewidth=2)
    margin.axhline(0, color=COLOURS["muted"], linewidth=1)
    _curves_of_classes(logits, offsets, found.example.logits, found.example.label)
    for axes, title in ((margin, "mean margin"), (logits, f"logits, image of class {found.example.label}")):
        axes.set(xlim=(offsets[0], offsets[-1]), xlabel="distance along the line", xticks=[-epsilon, 0, epsilon])
        axes.set_xticklabels(["−ε", "0", "ε"])
        axes.yaxis.set_major_locator(MaxNLocator(5))
        plots.set_title(axes, title)
        axes.margins(y=0.08)
    return plots.as_svg(figure, salt)


def _charts(models: Sequence[ModelResult], probe: str, draw: Callable[[Any, str], str]) -> list[dict[str, Any]]:
    found = {model.name: model.probes.get(probe) for model in models}
    return [
        {"model": name, "chart": Markup(draw(result, f"{probe}{index}"))} | vars(result)
        for index, (name, result) in enumerate(found.items())
        if result
    ]


def _bars(axes: Axes, edges: np.ndarray, counts: AnswerCounts) -> None:
    """Right answers below, wrong ones on top of them, hatched so that they stand out without colour."""
    middle, width = (edges[1:] + edges[:-1]) / 2, 0.9 * np.diff(edges)
    axes.bar(middle, counts.right, width, color=COLOURS["clean"])
    axes.bar(
        middle, counts.wrong, width, bottom=counts.right, color=COLOURS["worst"], hatch="//",
        edgecolor=COLOURS["paper"], linewidth=0,
    )  # fmt: skip


def _curves_of_classes(axes: Axes, offsets: np.ndarray, logits: np.ndarray, label: int) -> None:
    """A line a class; the true one and the one that wins at the end stand out, and have their numbers beside them."""
    winner = int(logits[-1].argmax())
    named = {winner: "worst", label: "clean"}
    for index in sorted(range(logits.shape[1]), key=lambda index: index in named):
        colour = COLOURS[named.get(index, "muted")]
        heavy: dict[str, Any] = {"linewidth": 2.2} if index in named else {"linewidth": 1, "alpha": 0.55}
        axes.plot(offsets, logits[:, index], color=colour, **heavy)
    for index, kind in named.items():
        # The winner's number stands above its end, so that the two do not overlap.
        place = {"transform": axes.get_yaxis_transform(), "va": "bottom" if kind == "worst" else "top"}
        axes.text(1.04, logits[-1, index], str(index), **TEXT | place | {"color": COLOURS[kind]})
