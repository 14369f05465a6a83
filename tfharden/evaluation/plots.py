"""The report's figures: two charts as SVG for inlining in a page, and image tiles as PNG data URIs.

A chart is drawn in the hexadecimal COLOURS and then refers to them as CSS variables of the same names, so that the page
decides how they look in the light and in the dark. Text stays text: it is measured here and set by the browser.
"""

import base64
import contextlib
import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import FuncFormatter, LogLocator, MultipleLocator, NullLocator
from matplotlib.transforms import Bbox

COLOURS = {
    "ink": "#1b2733",
    "muted": "#5a6774",
    "rule": "#dce1e6",
    "paper": "#fefefe",
    "clean": "#2f6db5",
    "attack": "#74598f",
    "worst": "#c2410c",
}
KILOBYTE = 1024
WIDTH = 560  # pixels, as all lengths below: a figure of 72 dpi has one point a pixel
FONT = 13
TILE = 144  # at least this many pixels in the longer side of an image

Model = Mapping[str, Any]


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Keeps a user's matplotlib style out, and silences it on glyphs that its font lacks: the browser has others."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield


@own_settings()
def accuracy_against_size(models: Sequence[Model]) -> str:
    """SVG of every model's clean (hollow) and worst-case (filled) accuracy over the size of its file.

    Args:
        models: entries of the report's "models", each with a "name" to show. Models of about the same size are set
            side by side, as far apart as it takes to tell them apart.
    """
    sizes = [model["bytes"] / KILOBYTE for model in models]
    figure, axes = _size_axes(min(sizes), max(sizes))
    to_pixels, pixel = axes.transData, axes.transData.inverted()
    centres = to_pixels.transform([(size, 0) for size in sizes])[:, 0]
    left, right = axes.bbox.x0 + 10, axes.bbox.x1 - 10
    shown = [pixel.transform((x, 0))[0] for x in _spread(centres, min(20, 120 / len(models)), left, right)]
    strips = []
    for model, size in zip(models, shown, strict=True):
        worst = model["worst_case"]
        clean_at, worst_at = 100 * model["clean_accuracy"], 100 * worst["robust_accuracy"]
        axes.plot([size, size], [worst_at, clean_at], color=COLOURS["muted"], linewidth=1, zorder=1)
        _interval(axes, (size, size), _percent(model["clean_interval"]), "clean")
        _interval(axes, (size, size), _percent(worst["interval"]), "worst")
        _mark(axes, size, clean_at, "clean")
        _mark(axes, size, worst_at, "worst")
        ends = [*_percent(model["clean_interval"]), *_percent(worst["interval"])]
        (x, bottom), (_, top) = to_pixels.transform([(size, min(ends)), (size, max(ends))])
        strips.append(Bbox.from_extents(x - 7, bottom - 3, x + 7, top + 3))
    anchors = to_pixels.transform([(0.1, 100 * model["worst_case"]["robust_accuracy"]) for model in models])[:, 1]
    _label_strips(axes, [shorten(model["name"], 28) for model in models], strips, anchors)
    for kind, text in (("clean", "clean"), ("worst", "worst case over all attacks")):
        axes.plot([], [], **_MARKS[kind], linestyle="none", color=COLOURS[kind], label=text)
    above = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": 2}
    axes.legend(**above, frameon=False, handletextpad=0.2, fontsize=FONT, labelcolor=COLOURS["ink"])
    return as_svg(figure, "size")


@own_settings()
def accuracy_by_attack(models: Sequence[Model]) -> str:
    """SVG with a group of rows for every model: clean accuracy, each of its attacks, the worst case; with intervals.

    Args:
        models: entries of the report's "models", each with a "name" to show.
    """
    header, line, gap, top, bottom = 24, 19, 12, 28, 44
    groups = [_measures(model) for model in models]
    height = sum(header + line * len(group) + gap for group in groups)
    names = [shorten(name, 22) for group in groups for name, *_ in group]
    left = 30 + 7.5 * max(map(len, names))
    figure, axes = new_figure(height + top + bottom, left=left, right=56, top=top, bottom=bottom)
    axes.set(xlim=(-1, 101), ylim=(height, 0), xlabel="images classified right")
    _percent_axis(axes.xaxis)
    axes.tick_params(labeltop=True)
    axes.yaxis.set_major_locator(NullLocator())

    beside = axes.get_yaxis_transform()
    inner = WIDTH - left - 56
    y = 0.0
    for model, group in zip(models, groups, strict=True):
        name = shorten(model["name"], 64)
        # The name stands on a ground of its own, for grid lines would run through it.
        ground = {"facecolor": COLOURS["paper"], "edgecolor": "none", "pad": 1.5}
        y += header
        axes.text(-left / inner, y - line / 2, name, transform=beside, weight="bold", bbox=ground, **TEXT)
        for measure, kind, accuracy, interval in group:
            y += line
            middle = y - line / 4
            _interval(axes, _percent(interval), (middle, middle), kind)
            _mark(axes, 100 * accuracy, middle, kind)
            weight = "bold" if kind == "worst" else "normal"
            label = {"transform": beside, "ha": "right", "weight": weight, **TEXT}
            axes.text(-10 / inner, middle, shorten(measure, 22), **label)
            axes.text(1 + 54 / inner, middle, f"{100 * accuracy:.1f}", **label)
        y += gap
    return as_svg(figure, "attacks")


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
TEXT = {"va": "center", "parse_math": False, "color": COLOURS["ink"], "fontsize": FONT}
_MARKS = {
    "clean": {"marker": "o", "markersize": 8, "markerfacecolor": COLOURS["paper"], "markeredgewidth": 1.8},
    "attack": {"marker": "D", "markersize": 5},
    "worst": {"marker": "o", "markersize": 8},
}


def _measures(model: Model) -> list[tuple[str, str, float, Sequence[float]]]:
    """Rows of a model, as (name, kind of mark, accuracy, interval)."""
    worst = model["worst_case"]
    attacks = [
        (
            attack["name"] + ("†" if attack["access"] == "transfer" else ""),
            "attack",
            attack["robust_accuracy"],
            attack["interval"],
        )
        for attack in model["attacks"]
    ]
    clean = ("clean", "clean", model["clean_accuracy"], model["clean_interval"])
    return [clean, *attacks, ("worst case", "worst", worst["robust_accuracy"], worst["interval"])]


def new_figure(height: float, *, left: float, right: float, top: float, bottom: float) -> tuple[Figure, Axes]:
    """An empty chart with margins in pixels, a light grid and no frame."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    figure.patch.set_visible(False)
    inside = (left / WIDTH, bottom / height, 1 - (left + right) / WIDTH, 1 - (top + bottom) / height)
    return figure, add_axes(figure, inside)


def add_axes(figure: Figure, inside: Sequence[float]) -> Axes:
    """Axes with a light grid and no frame at (left, bottom, width, height), in shares of the figure."""
    axes = figure.add_axes(inside)
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.grid(color=COLOURS["rule"], linewidth=1)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=COLOURS["muted"], labelsize=FONT)
    axes.xaxis.label.set(color=COLOURS["muted"], fontsize=FONT)
    return axes


def _size_axes(smallest: float, largest: float) -> tuple[Figure, Axes]:
    """An empty chart of percent over kilobytes, with room for labels on all sides."""
    figure, axes = new_figure(380, left=48, right=90, top=34, bottom=48)
    axes.set(xscale="log", xlim=(smallest / 2.4, largest * 1.6), ylim=(-3, 108), xlabel="file size (KB, log scale)")
    dense = largest / smallest < 150  # noqa: PLR2004 - on a longer axis the ticks at 1, 2, 5 collide
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if dense else (1,), numticks=20))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda kilobytes, _: f"{kilobytes:,g}"))
    _percent_axis(axes.yaxis)
    return figure, axes


def _percent_axis(axis: Axis) -> None:
    axis.set_major_locator(MultipleLocator(20))
    axis.set_major_formatter(FuncFormatter(lambda percent, _: f"{percent:.0f}%"))


def _mark(axes: Axes, x: float, y: float, kind: str) -> None:
    axes.plot([x], [y], **_MARKS[kind], color=COLOURS[kind], clip_on=False, zorder=4)


def _interval(axes: Axes, xs: Sequence[float], ys: Sequence[float], kind: str) -> None:
    axes.plot(xs, ys, color=COLOURS[kind], linewidth=3.5, alpha=0.45, solid_capstyle="butt", zorder=2)


def _percent(interval: Sequence[float]) -> list[float]:
    return [100 * bound for bound in interval]


def shorten(text: str, length: int) -> str:
    """Cuts the middle out of a long name: file names differ at both ends."""
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


def _spread(positions: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
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
    spread = np.empty(len(order))
    spread[order] = np.clip(means, low, high - steps[-1]) + steps
    return spread


def _label_strips(axes: Axes, names: Sequence[str], strips: Sequence[Bbox], anchors: Sequence[float]) -> None:
    """Writes each name beside its strip near its anchor's height, or above or below it: where it hides least."""
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    inside, taken, inverse = axes.get_window_extent(renderer), list(strips), axes.transData.inverted()
    frame = Bbox.from_extents(inside.x0, inside.y0, WIDTH, inside.y1)
    texts = [axes.text(0.5, 0.5, name, zorder=5, **TEXT) for name in names]
    sizes = [text.get_window_extent(renderer).size for text in texts]
    # Wide labels have the fewest places, so they choose first.
    for index in sorted(range(len(names)), key=lambda index: -sizes[index][0]):

        def cost(place: tuple[Bbox, float]) -> float:
            box, detour = place
            return sum(_overlap(box, other) for other in taken) + box.width * box.height - _overlap(box, frame) + detour

        box, _ = min(_places(strips[index], anchors[index], *sizes[index]), key=cost)
        taken.append(box)
        texts[index].set_position(inverse.transform((box.x0, (box.y0 + box.y1) / 2)))


def _places(strip: Bbox, anchor: float, width: float, height: float) -> Iterator[tuple[Bbox, float]]:
    """Boxes of a size that touch the strip, each with a penalty for its distance from the best place on that side."""
    for y in np.arange(strip.y0, strip.y1, 3):
        for x in (strip.x1 + 1, strip.x0 - width - 1):
            yield Bbox.from_bounds(x, y - height / 2, width, height), 0.05 * abs(y - anchor)
    for y in (strip.y0 - height, strip.y1):
        for shift in np.linspace(-0.4, 0.4, 5) * width:
            x = (strip.x0 + strip.x1 - width) / 2 + shift
            yield Bbox.from_bounds(x, y, width, height), 5 + 0.1 * abs(shift)


def _overlap(one: Bbox, other: Bbox) -> float:
    common = Bbox.intersection(one, other)
    return common.width * common.height if common else 0.0


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
    imsave(buffer, values.repeat(factor, 0).repeat(factor, 1), format="png", metadata={"Software": None}, **mapping)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
