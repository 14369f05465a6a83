"""Charts of linearity, and the heat map of transfer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tfharden.evaluation.report import plots
from tfharden.evaluation.report.plots import COLOURS, TEXT, WIDTH
from tfharden.evaluation.results import LinearityResult, ModelResult, TransferResult

HEIGHT, LEFT, RIGHT, TOP, BOTTOM, BETWEEN = 280, 40, 44, 34, 48, 48


def lines(models: Sequence[ModelResult]) -> list[dict[str, Any]]:
    """What the page shows of each model whose linearity was looked at: its name, its chart and its numbers."""
    found = {model.name: model.probes.get("linearity") for model in models}
    return [
        {"model": name, "chart": Markup(linearity_curves(line, f"linearity{index}"))} | vars(line)
        for index, (name, line) in enumerate(found.items())
        if line
    ]


@plots.own_settings()
def linearity_curves(found: LinearityResult, salt: str) -> str:
    """SVG of the mean margin, and of one image's logits, along the steepest line.

    Args:
        found: the linearity of one model.
        salt: what tells this figure's ids from those of others.
    """
    offsets = found.offsets
    epsilon = offsets[-1] / found.reach
    each = (WIDTH - LEFT - BETWEEN - RIGHT) / 2
    figure, margin = plots.new_figure(HEIGHT, left=LEFT, right=RIGHT + each + BETWEEN, top=TOP, bottom=BOTTOM)
    place = ((LEFT + each + BETWEEN) / WIDTH, BOTTOM / HEIGHT, each / WIDTH, 1 - (TOP + BOTTOM) / HEIGHT)
    logits = plots.add_axes(figure, place)
    margin.plot(offsets, found.margin_mean, color=COLOURS["clean"], linewidth=2)
    margin.axhline(0, color=COLOURS["muted"], linewidth=1)
    _curves_of_classes(logits, offsets, found.example.logits, found.example.label)
    for axes, title in ((margin, "mean margin"), (logits, f"logits, image of class {found.example.label}")):
        axes.set(xlim=(offsets[0], offsets[-1]), xlabel="distance along the line", xticks=[-epsilon, 0, epsilon])
        axes.set_xticklabels(["−ε", "0", "ε"])
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_title(title, loc="left", fontsize=plots.FONT, color=COLOURS["ink"], parse_math=False)
        axes.margins(y=0.08)
    return plots.as_svg(figure, salt)


def _curves_of_classes(axes: Axes, offsets: np.ndarray, logits: np.ndarray, label: int) -> None:
    """A line a class; the true one and the one that wins at the end stand out, and have their numbers beside them."""
    winner = int(logits[-1].argmax())
    named = {winner: "worst", label: "clean"}
    for index in sorted(range(logits.shape[1]), key=lambda index: index in named):
        colour = COLOURS[named.get(index, "muted")]
        heavy: dict[str, Any] = {"linewidth": 2.2} if index in named else {"linewidth": 1, "alpha": 0.55}
        axes.plot(offsets, logits[:, index], color=colour, **heavy)
    for index, kind in named.items():
        # The winner's number stands above its end, so that the two keep clear of each other.
        place = {"transform": axes.get_yaxis_transform(), "va": "bottom" if kind == "worst" else "top"}
        axes.text(1.04, logits[-1, index], str(index), **TEXT | place | {"color": COLOURS[kind]})


def heat_rows(transfer: TransferResult) -> list[dict[str, Any]]:
    """The rows of a transfer matrix, each with its cells: a share, and whether source and target are one model."""
    plain = [
        {"name": name, "cells": [{"share": share, "own": False} for share in shares]}
        for name, shares in (("no change", transfer.clean), ("random noise", transfer.noise))
    ]
    return plain + [
        {
            "name": source,
            "cells": [
                {"share": share, "own": source == target}
                for target, share in zip(transfer.targets, shares, strict=True)
            ],
        }
        for source, shares in zip(transfer.sources, transfer.accuracy, strict=True)
    ]
