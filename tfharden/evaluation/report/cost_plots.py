"""Cost of robustness: accuracy against size or time, with the Pareto front."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import Bbox

from tfharden.evaluation.formats import KILOBYTE
from tfharden.evaluation.report import plots
from tfharden.evaluation.report.plots import COLOURS, FONT, TEXT, WIDTH
from tfharden.evaluation.results import ModelResult

# Rows of labels above a strip, and as many below it.
LABEL_ROWS = 2


@dataclasses.dataclass(frozen=True)
class Cost:
    """A cost of models, with the label of its axis. Models for which `of` is 0 are left out."""

    name: str
    label: str
    of: Callable[[ModelResult], float]


SIZE = Cost("size", "file size (KB, log scale)", lambda model: (model.bytes or 0) / KILOBYTE)
TIME = Cost(
    "time", "microseconds an image (log scale)", lambda model: 1e6 * model.latency.seconds if model.latency else 0.0
)


def front(cost: Cost, models: Sequence[ModelResult]) -> set[str | None]:
    """Names of the models on the Pareto front: no other is as good in cost and accuracy and better in one of them."""
    points = [(cost.of(model), model.worst_case.robust_accuracy) for model in models]
    return {
        model.name
        for model, (price, accuracy) in zip(models, points, strict=True)
        if not any(p <= price and a >= accuracy and (p, a) != (price, accuracy) for p, a in points)
    }


@plots.own_settings()
def accuracy_against(cost: Cost, models: Sequence[ModelResult]) -> str:
    """SVG of every model's clean (hollow) and worst-case (filled) accuracy over what it costs, with the Pareto front.

    Models are as `for_display` gives them. Those of about the same cost are drawn side by side.
    """
    sizes = [cost.of(model) for model in models]
    figure, axes = _cost_axes(min(sizes), max(sizes), cost.label)
    to_pixels, pixel = axes.transData, axes.transData.inverted()
    centres = to_pixels.transform([(size, 0) for size in sizes])[:, 0]
    left, right = axes.bbox.x0 + 10, axes.bbox.x1 - 10
    shown = [pixel.transform((x, 0))[0] for x in plots.spread(centres, min(20, 120 / len(models)), left, right)]
    strips: list[Bbox] = []
    best = [index for index in np.argsort(sizes, kind="stable") if models[index].name in front(cost, models)]
    worst_of = [100 * models[index].worst_case.robust_accuracy for index in best]
    # At a cost between two models of the front, the cheaper one can be had.
    axes.step(
        [shown[index] for index in best], worst_of, where="post", color=COLOURS["worst"], linewidth=1.2, linestyle=":"
    )
    for model, size in zip(models, shown, strict=True):
        worst = model.worst_case
        clean_at, worst_at = 100 * model.clean_accuracy, 100 * worst.robust_accuracy
        axes.plot([size, size], [worst_at, clean_at], color=COLOURS["muted"], linewidth=1, zorder=1)
        plots.draw_interval(axes, (size, size), plots.in_percent(model.clean_interval), "clean")
        plots.draw_interval(axes, (size, size), plots.in_percent(worst.interval), "worst")
        plots.draw_mark(axes, size, clean_at, "clean")
        plots.draw_mark(axes, size, worst_at, "worst")
        ends = [*plots.in_percent(model.clean_interval), *plots.in_percent(worst.interval)]
        (x, bottom), (_, top) = to_pixels.transform([(size, min(ends)), (size, max(ends))])
        strips.append(Bbox.from_extents(x - 7, bottom - 3, x + 7, top + 3))
    anchors = to_pixels.transform([(0.1, 100 * model.worst_case.robust_accuracy) for model in models])[:, 1]
    _label_strips(axes, [plots.shorten(str(model.name), 28) for model in models], strips, anchors)
    for kind, text in (("clean", "clean"), ("worst", "worst case over all attacks")):
        axes.plot([], [], **plots.MARKS[kind], linestyle="none", color=COLOURS[kind], label=text)
    above = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": 2}
    axes.legend(**above, frameon=False, handletextpad=0.2, fontsize=FONT, labelcolor=COLOURS["ink"])
    return plots.as_svg(figure, cost.name)


def _cost_axes(smallest: float, largest: float, label: str) -> tuple[Figure, Axes]:
    """An empty chart of percent over a cost, with room for labels on all sides."""
    figure, axes = plots.new_figure(380, left=48, right=90, top=34, bottom=48)
    axes.set(xscale="log", xlim=(smallest / 2.4, largest * 1.6), ylim=(-3, 108), xlabel=label)
    dense = largest / smallest < 150  # noqa: PLR2004 - on a longer axis the ticks at 1, 2, 5 collide
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if dense else (1,), numticks=20))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:,g}"))
    plots.percent_axis(axes.yaxis)
    return figure, axes


def _label_strips(axes: Axes, names: Sequence[str], strips: Sequence[Bbox], anchors: np.ndarray) -> None:
    """Writes each name beside its strip near its anchor's height, or above or below it, where it overlaps least."""
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
        texts[index].set_position(tuple(inverse.transform((box.x0, (box.y0 + box.y1) / 2))))


def _places(strip: Bbox, anchor: float, width: float, height: float) -> Iterator[tuple[Bbox, float]]:
    """Boxes of a size beside, above and below the strip, each with a penalty for its distance from the best place."""
    for y in np.arange(strip.y0, strip.y1, 3):
        for x in (strip.x1 + 1, strip.x0 - width - 1):
            yield Bbox.from_bounds(x, y - height / 2, width, height), 0.05 * abs(y - anchor)
    for row in range(LABEL_ROWS):
        for y in (strip.y0 - (row + 1) * height, strip.y1 + row * height):
            for shift in np.linspace(-0.4, 0.4, 5) * width:
                x = (strip.x0 + strip.x1 - width) / 2 + shift
                yield Bbox.from_bounds(x, y, width, height), 5 + 20 * row + 0.1 * abs(shift)


def _overlap(one: Bbox, other: Bbox) -> float:
    common = Bbox.intersection(one, other)
    return common.width * common.height if common else 0.0
