"""The report's figures: charts as inline SVG that follow the page's colors."""

from __future__ import annotations

import io
import itertools
import re
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from fewlabels.storage.visible import shortened
from fewlabels.training.watch import POOL_ACCURACY

# matplotlib draws in these stand-ins, which the SVG text then trades for the page's own colors: one figure
# serves the light and the dark page.
INK, MUTED, LINE, FIRST, SECOND, GOOD, BAD = (f"#01020{n}" for n in range(3, 10))
_PAGE_COLORS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
    GOOD: "var(--good)",
    BAD: "var(--bad)",
}
# Fonts stay text, drawn by the reader's browser; the salt makes the same figure the same bytes each time.
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "fewlabels", "font.size": 9}
_MOST_NAMED_CLASSES = 30
_ACCURACIES = {"train_accuracy": "training", "validation_accuracy": "validation", POOL_ACCURACY: "pool"}
_STAGE_SIZE = 8
# How wide a letter is, of its size, and how many letters of a legend are as wide as a chart.
_LETTER, _LINE_OF_LETTERS = 0.6, 50
_CELL = np.array([64, 124, 214], np.uint8)


def loss_chart(history: Sequence[dict[str, Any]]) -> Markup | None:
    """Return the loss over the optimizer steps of all stages, or None if none was recorded."""
    events = on_one_axis(history)
    points = [(at, event["loss"], event["stage"]) for at, event in events if is_number(event.get("loss"))]
    if not points:
        return None
    figure, axes = new_chart("optimizer step")
    for steps, values in _by_stage(points):
        axes.plot(steps, values, color=FIRST, lw=1.4, marker="." if len(steps) < 2 else "")
    losses = [loss for _, loss, _ in points]
    if min(losses) > 0 and max(losses) / min(losses) > 50:
        axes.set_yscale("log")
    elif min(losses) >= 0:
        axes.set_ylim(bottom=0)
    mark_stages(axes, events)
    return as_svg(figure, f"Loss over {events[-1][0]:,} optimizer steps, from {losses[0]:.2f} to {losses[-1]:.2f}")


def accuracy_chart(history: Sequence[dict[str, Any]]) -> Markup | None:
    """Return accuracy on training, validation and pool images over the steps, or None if none was measured."""
    events = on_one_axis(history)
    figure, axes = new_chart("optimizer step")
    drawn = []
    for (key, images), color in zip(_ACCURACIES.items(), (FIRST, SECOND, GOOD), strict=True):
        points = [(at, event[key], event["stage"]) for at, event in events if is_number(event.get(key))]
        for steps, values in _by_stage(points):
            axes.plot(steps, values, color=color, lw=1.4, marker="o", ms=2.5)
        if points:
            drawn.append(f"{images} images {points[-1][1]:.1%}")
    if not drawn:
        return None
    axes.yaxis.set_major_formatter(in_percent())
    axes.set_ylim(0, 1.02)
    mark_stages(axes, events)
    return as_svg(figure, f"Accuracy over {events[-1][0]:,} optimizer steps; at the end: {', '.join(drawn)}")


def accuracies_in(history: Sequence[dict[str, Any]]) -> list[str]:
    """Return of which images accuracies were measured, in the order of their colors.

    Examples
    --------
    >>> accuracies_in([{"train_accuracy": 0.5, "validation_accuracy": float("nan")}, {"pool_accuracy": 0.4}])
    ['training', 'pool']
    """
    return [images for key, images in _ACCURACIES.items() if any(is_number(event.get(key)) for event in history)]


def _by_stage(points: Sequence[tuple[int, float, str]]) -> list[tuple[list[int], list[float]]]:
    """Return steps and values of each stage: no line joins the nets of two."""
    stages = dict.fromkeys(stage for *_, stage in points)
    own = [[(at, value) for at, value, name in points if name == stage] for stage in stages]
    return [([at for at, _ in one], [value for _, value in one]) for one in own]


def in_percent() -> FuncFormatter:
    """Return what writes shares at an axis in per cent, with as many digits as each has.

    Examples
    --------
    >>> [in_percent()(share) for share in (0.95, 0.975, 1.0)]
    ['95%', '97.5%', '100%']
    """
    return FuncFormatter(lambda share, _: f"{round(100 * share, 6):g}%")


def confusion_chart(counts: NDArray[np.int64], class_names: Sequence[str]) -> Markup:
    """Return the confusion matrix, shaded by the share of each true class.

    Parameters
    ----------
    counts : ndarray of shape (classes, classes)
        Row the true class, column the guess.
    class_names : sequence of str
    """
    classes = len(class_names)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    cells = np.empty((classes, classes, 4), np.uint8)
    cells[:, :, :3] = _CELL
    cells[:, :, 3] = np.round(255 * shares**0.7)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.4, 4.4))
        axes = figure.add_subplot()
        axes.imshow(cells, interpolation="none")
        named = classes <= _MOST_NAMED_CLASSES
        ticks = np.arange(classes) if named else np.array([], int)
        names = [shortened(name, 14) for name in class_names] if named else []
        upright = max((len(name) for name in names), default=0) <= 2
        # A dollar sign in a name is a dollar sign, not mathematics.
        axes.set_xticks(ticks, names, rotation=0 if upright else 90, parse_math=False)
        axes.set_yticks(ticks, names, parse_math=False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        _calm(axes)
        axes.grid(False)
        axes.spines[:].set_visible(False)
    right = int(np.trace(counts))
    return as_svg(figure, f"Confusion matrix of {counts.sum():,} test images, {right:,} of them on the diagonal")


def new_chart(label: str) -> tuple[Figure, Axes]:
    """Return an empty chart whose axis across has a label."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.3, 2.5))
        axes = figure.add_subplot()
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _calm(axes)
    return figure, axes


def _calm(axes: Axes) -> None:
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.grid(axis="y", color=LINE, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, length=0, pad=5)
    axes.xaxis.label.set_color(MUTED)
    axes.yaxis.label.set_color(MUTED)


def on_one_axis(history: Sequence[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Return (steps since the run began, event): each stage counts its own steps from zero."""
    events, before, stage, last = [], 0, None, 0
    for event in history:
        if event["stage"] != stage:
            before, stage = before + last, event["stage"]
        last = event["step"]
        events.append((before + last, event))
    return events


def mark_stages(axes: Axes, events: list[tuple[int, dict[str, Any]]]) -> None:
    """Draw where each stage ends, and name the stages above, where there are several: by numbers if names are long."""
    stages = list(dict.fromkeys(event["stage"] for _, event in events))
    ends = [max(at for at, event in events if event["stage"] == stage) for stage in stages]
    axes.set_xlim(0, max(1, ends[-1]))
    if len(stages) < 2:
        return
    points = axes.bbox.width * 72 / axes.figure.dpi
    widths = [(end - begin) / max(1, ends[-1]) * points for begin, end in itertools.pairwise([0, *ends])]
    fit = all(len(stage) * _LETTER * _STAGE_SIZE < width for stage, width in zip(stages, widths, strict=True))
    if not fit:
        legend = "; ".join(f"{number} {stage}" for number, stage in enumerate(stages, 1))
        axes.set_xlabel(f"{axes.get_xlabel()}\n{textwrap.fill(legend, _LINE_OF_LETTERS)}", parse_math=False)
    for number, (stage, begin, end) in enumerate(zip(stages, [0, *ends], ends, strict=False), 1):
        if end != ends[-1]:
            axes.axvline(end, color=LINE, lw=0.8)
        axes.annotate(
            stage if fit else str(number),
            ((begin + end) / 2, 1.02),
            xycoords=("data", "axes fraction"),
            ha="center",
            color=MUTED,
            fontsize=_STAGE_SIZE,
            parse_math=False,
        )


def as_svg(figure: Figure, description: str) -> Markup:
    """Return a chart as inline SVG in the page's colors, with a description for those who do not see it."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # The reader's browser draws the letters, so a glyph that matplotlib's font lacks does no harm.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        text = io.StringIO()
        FigureCanvasSVG(figure).print_figure(
            text, format="svg", bbox_inches="tight", pad_inches=0.03, facecolor="none", edgecolor="none"
        )
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    # Many figures share the page: numbered ids would clash, and nothing refers to them.
    svg = re.sub(r' id="[a-zA-Z]\w*_\d+"', "", svg)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    for stand_in, color in _PAGE_COLORS.items():
        svg = svg.replace(stand_in, color)
    width = re.search(r'width="([\d.]+)pt"', svg)
    pixels = round(float(width[1]) * 4 / 3) if width else 420
    label = escape(description)
    opening = re.search(r'viewBox="([^"]*)"', svg)
    head = (
        f'<svg role="img" aria-label="{label}" viewBox="{opening[1] if opening else ""}" '
        f'style="max-width: {pixels}px" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return Markup(head + svg[svg.index(">") + 1 :])


def is_number(value: Any) -> bool:
    """Return whether an event's value is a finite number.

    Examples
    --------
    >>> is_number(0.5), is_number(None), is_number(float("nan"))
    (True, False, False)
    """
    return isinstance(value, int | float) and bool(np.isfinite(value))
