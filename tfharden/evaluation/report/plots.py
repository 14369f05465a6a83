"""Figures of the report: common parts of its charts, the bars of attacks, and image tiles as PNG data URIs.

A chart is drawn in the hexadecimal COLOURS and then refers to them as CSS variables of the same names, so that the page
has a light and a dark style. Text stays text: it is measured here and set by the browser.
"""

import base64
import contextlib
import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import FuncFormatter, MultipleLocator, NullLocator

from tfharden.evaluation import formats
from tfharden.evaluation.report.display import transfer_mark
from tfharden.evaluation.report.measures import Measure, measures
from tfharden.evaluation.results import ModelResult

COLOURS = {
    "ink": "#1b2733",
    "muted": "#5a6774",
    "rule": "#dce1e6",
    "paper": "#fefefe",
    "clean": "#2f6db5",
    "attack": "#74598f",
    "worst": "#c2410c",
}
WIDTH = 560  # pixels, as all lengths below: a figure of 72 dpi has one point a pixel
FONT = 13
TILE = 144  # at least this many pixels in the longer side of an image


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Ignores a user's matplotlib style, and warnings of glyphs that its font lacks: the browser has other fonts."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield


@own_settings()
def accuracy_by_attack(models: Sequence[ModelResult]) -> str:
    """SVG of accuracies with intervals, a group of rows for each of the models that `for_display` gives."""
    header, line, gap, top, bottom = 24, 19, 12, 28, 44
    groups = [measures(model) for model in models]
    height = sum(header + line * len(group) + gap for group in groups)
    left = 30 + 7.5 * max(len(shorten(_label(measure), 22)) for group in groups for measure in group)
    figure, axes = new_figure(height + top + bottom, left=left, right=56, top=top, bottom=bottom)
    axes.set(xlim=(-1, 101), ylim=(height, 0), xlabel="images classified right")
    percent_axis(axes.xaxis)
    axes.tick_params(labeltop=True)
    axes.yaxis.set_major_locator(NullLocator())

    beside = axes.get_yaxis_transform()
    inner = WIDTH - left - 56
    y = 0.0
    for model, group in zip(models, groups, strict=True):
        name = shorten(str(model.name), 64)
        # Without a background, grid lines would run through the name.
        ground = {"facecolor": COLOURS["paper"], "edgecolor": "none", "pad": 1.5}
        y += header
        axes.text(-left / inner, y - line / 2, name, transform=beside, weight="bold", bbox=ground, **TEXT)
        for measure in group:
            y += line
            middle = y - line / 4
            kind = "worst" if measure.kind == "worst_case" else measure.kind
            draw_interval(axes, in_percent(measure.interval), (middle, middle), kind)
            draw_mark(axes, 100 * measure.accuracy, middle, kind)
            weight = "bold" if kind == "worst" else "normal"
            label: dict[str, Any] = {"transform": beside, "ha": "right", "weight": weight, **TEXT}
            axes.text(-10 / inner, middle, shorten(_label(measure), 22), **label)
            axes.text(1 + 54 / inner, middle, formats.percent(measure.accuracy), **label)
        y += gap
    return as_svg(figure, "attacks")


def _label(measure: Measure) -> str:
    return measure.name + (transfer_mark(measure.attack) if measure.attack else "")


def image_tile(image: np.ndarray, bounds: tuple[float, float]) -> str:
    """PNG data URI of an image [h, w, c] with values in `bounds`: RGB for c = 3, otherwise the grey of its mean."""
    low, high = bounds
    unit = np.clip((image.astype(np.float64) - low) / (high - low), 0, 1)
    return _png(unit) if image.shape[-1] == 3 else _png(unit.mean(-1), cmap="gray", vmin=0, vmax=1)  # noqa: PLR2004


def change_tile(change: np.ndarray, scale: float) -> str:
    """PNG data URI of a perturbation [h, w, c]: red is up, blue is down, white is none, full colour is `scale`.

    A pixel shows the channel that changes most.
    """
    most = np.abs(change).argmax(-1, keepdims=True)
    signed = np.take_along_axis(change, most, axis=-1)[..., 0]
    return _png(signed, cmap=_CHANGE, vmin=-scale, vmax=scale)


_CHANGE = LinearSegmentedColormap.from_list("change", ["#1f5fad", "#ffffff", "#c5281c"])
TEXT: dict[str, Any] = {"va": "center", "parse_math": False, "color": COLOURS["ink"], "fontsize": FONT}
MARKS: dict[str, dict[str, Any]] = {
    "clean": {"marker": "o", "markersize": 8, "markerfacecolor": COLOURS["paper"], "markeredgewidth": 1.8},
    "attack": {"marker": "D", "markersize": 5},
    "worst": {"marker": "o", "markersize": 8},
}


def new_figure(height: float, *, left: float, right: float, top: float, bottom: float) -> tuple[Figure, Axes]:
    """An empty chart with margins in pixels, a light grid and no frame."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    figure.patch.set_visible(False)
    inside = (left / WIDTH, bottom / height, 1 - (left + right) / WIDTH, 1 - (top + bottom) / height)
    return figure, add_axes(figure, inside)


def add_axes(figure: Figure, inside: tuple[float, float, float, float]) -> Axes:
    """Axes with a light grid and no frame at (left, bottom, width, height), in shares of the figure."""
    axes = figure.add_axes(inside)
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.grid(color=COLOURS["rule"], linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=COLOURS["muted"], labelsize=FONT)
    axes.xaxis.label.set(color=COLOURS["muted"], fontsize=FONT)
    return axes


def new_pair(height: float, *, left: float, between: float, right: float) -> tuple[Figure, tuple[Axes, Axes]]:
    """Two empty charts of equal size side by side, with margins in pixels and room for titles."""
    each, top, bottom = (WIDTH - left - between - right) / 2, 34, 48
    figure, first = new_figure(height, left=left, right=right + each + between, top=top, bottom=bottom)
    place = ((left + each + between) / WIDTH, bottom / height, each / WIDTH, 1 - (top + bottom) / height)
    return figure, (first, add_axes(figure, place))


def set_title(axes: Axes, title: str) -> None:
    """Writes a title above a chart, aligned to the left."""
    axes.set_title(title, loc="left", fontsize=FONT, color=COLOURS["ink"], parse_math=False)


def percent_axis(axis: Axis) -> None:
    """Ticks in percent."""
    axis.set_major_locator(MultipleLocator(20))
    axis.set_major_formatter(FuncFormatter(lambda percent, _: f"{percent:.0f}%"))


def draw_mark(axes: Axes, x: float, y: float, kind: str) -> None:
    """One accuracy, in percent; `kind` is "clean", "attack" or "worst"."""
    axes.plot([x], [y], **MARKS[kind], color=COLOURS[kind], clip_on=False, zorder=4)


def draw_interval(axes: Axes, xs: Sequence[float], ys: Sequence[float], kind: str) -> None:
    """The bar of an interval, in percent."""
    axes.plot(xs, ys, color=COLOURS[kind], linewidth=3.5, alpha=0.45, solid_capstyle="butt", zorder=2)


def in_percent(bounds: Sequence[float]) -> list[float]:
    """Bounds of a share, in percent."""
    return [100 * bound for bound in bounds]


def shorten(text: str, length: int) -> str:
    """Cuts the middle out of a long name: file names differ at both ends."""
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


def spread(positions: Sequence[float] | np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Moves positions at least `gap` apart, by the least squared movement (pool adjacent violators), in [low, high]."""
    order = np.argsort(positions, kind="stable")
    steps = np.arange(len(order)) * gap
    blocks: list[tuple[float, int]] = []  # (mean, count) of neighbouring positions less their steps
    for index, step in zip(order, steps, strict=True):
        mean, count = positions[index] - step, 1
        while blocks and blocks[-1][0] >= mean:
            before, members = blocks.pop()
            mean, count = (before * members + mean * count) / (members + count), members + count
        blocks.append((mean, count))
    means = np.concatenate([np.full(count, mean) for mean, count in blocks])
    moved = np.empty(len(order))
    moved[order] = np.clip(means, low, high - steps[-1]) + steps
    return moved


def as_svg(figure: Figure, salt: str) -> str:
    """The figure as an SVG element; `salt` keeps its ids apart from those of other figures on the page."""
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    svg = buffer.getvalue()
    svg = re.sub(r'<g id="[^"]*"', "<g", svg[svg.index("<svg") :])
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg


def _png(values: np.ndarray, **mapping: Any) -> str:  # noqa: ANN401
    """PNG data URI of values [h, w] or [h, w, 3]; each pixel of a small image becomes a square, to stay crisp."""
    factor = math.ceil(TILE / max(values.shape[:2]))
    buffer = io.BytesIO()
    imsave(buffer, values.repeat(factor, 0).repeat(factor, 1), format="png", metadata={"Software": None}, **mapping)  # type: ignore[dict-item]  # None leaves it out
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
