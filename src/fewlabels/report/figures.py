"""The report's pictures: SVG for curves and matrices, PNG for images; no global plotting state."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

_INK, _MUTED = "#1f2933", "#7b8794"
_COLORS = ("#2f6fb0", "#d9822b", "#3a8f5c", "#a3447a")
_LARGEST_MATRIX = 20


def learning_curves(history: Sequence[dict[str, Any]]) -> str:
    """Return an SVG of the losses and accuracies over the samples learned from."""
    figure = Figure(figsize=(8.2, 2.7), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    stages = list(dict.fromkeys(event["stage"] for event in history))
    for color, stage in zip(_cycled(len(stages)), stages, strict=True):
        events = [event for event in history if event["stage"] == stage]
        images = [event["gradient_images"] for event in events]
        losses.plot(images, [event["loss"] for event in events], color=color, lw=1.4, label=stage)
    if len(stages) > 1:
        losses.legend(frameon=False, fontsize=7)
    for color, key in zip(_COLORS, ("train_accuracy", "validation_accuracy"), strict=False):
        events = [event for event in history if key in event]
        if events:
            accuracies.plot(
                [event["gradient_images"] for event in events],
                [100 * event[key] for event in events],
                color=color,
                lw=1.4,
                marker="o",
                ms=3,
                label=key.split("_")[0],
            )
    for axes, name in ((losses, "loss"), (accuracies, "accuracy (%)")):
        _calm(axes)
        axes.set_ylabel(name, fontsize=8)
        axes.set_xlabel("samples learned from", fontsize=8)
    if accuracies.lines:
        accuracies.set_ylim(0, 102)
        accuracies.legend(frameon=False, fontsize=7, loc="lower right")
    return _svg(figure)


def confusion_matrix(
    labels: NDArray[np.integer], guesses: NDArray[np.integer], class_names: Sequence[str]
) -> str:
    """Return an SVG of how often each class (row) was taken for each (column), in percent of the row."""
    count = len(class_names)
    matrix = np.zeros((count, count))
    np.add.at(matrix, (labels, guesses), 1)
    shares = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = min(2.2 + 0.36 * count, 9)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    if count <= _LARGEST_MATRIX:
        names = [name if len(name) <= 14 else name[:13] + "…" for name in class_names]
        # Names are data: a $ in one must not start a formula.
        names = [name.replace("$", r"\$") for name in names]
        axes.set_xticks(range(count), names, rotation=45, ha="right", fontsize=8)
        axes.set_yticks(range(count), names, fontsize=8)
        for row in range(count):
            for column in range(count):
                if shares[row, column] >= 0.5:
                    color = "white" if shares[row, column] > 55 else _INK
                    axes.text(
                        column, row, f"{shares[row, column]:.0f}", ha="center", va="center", fontsize=7, color=color
                    )
    axes.set_xlabel("predicted", fontsize=8, color=_MUTED)
    axes.set_ylabel("true class", fontsize=8, color=_MUTED)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return _svg(figure)


def picture(image: NDArray[np.uint8]) -> str:
    """Return an image of shape (height, width, channels) as a PNG data address."""
    pixels = image[..., 0] if image.shape[2] == 1 else image
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def _cycled(count: int) -> list[str]:
    return [_COLORS[index % len(_COLORS)] for index in range(count)]


def _calm(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#cbd2d9")
    axes.tick_params(labelsize=7, colors=_MUTED)
    axes.grid(axis="y", color="#e4e7eb", lw=0.7)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value >= 1000 else f"{value:g}")


def _svg(figure: Figure) -> str:
    content = io.StringIO()
    FigureCanvasSVG(figure)
    # Fixed identifiers and no date: the same run gives the same report.
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "fewlabels", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    text = content.getvalue()
    return text[text.index("<svg") :]
