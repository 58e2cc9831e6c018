"""Charts of what can be trusted: accuracy by labels, confidence against accuracy, accuracy by what is answered."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from fewlabels.evaluation.standings import Group
from fewlabels.evaluation.trust import Trust
from fewlabels.report.figures import (
    BAD,
    FIRST,
    GOOD,
    INK,
    LINE,
    MUTED,
    SECOND,
    STYLE,
    as_svg,
    in_percent,
    is_number,
    mark_stages,
    new_chart,
    on_one_axis,
)
from fewlabels.training.watch import ADMITTED

# Colors first, then the same with dashes: more lines than these nobody tells apart.
_LINES = [(color, style) for style in ("-", "--", ":") for color in (FIRST, SECOND, GOOD, BAD, INK, MUTED)]
_MARKERS = "osD^vPX"
# How far apart points of one number of labels are drawn, as a ratio, and how much of the way to the next all of them
# may take.
_ASIDE, _SPREAD = 1.03, 0.4
# Beside the chart, names would leave it no room on a phone.
_BELOW: dict[str, Any] = {
    "frameon": False,
    "labelcolor": INK,
    "fontsize": 8,
    "loc": "upper left",
    "bbox_to_anchor": (0, -0.2),
    "ncols": 2,
}


def learning_curves(groups: Sequence[Group]) -> Markup | None:
    """Return test accuracy over the number of labels with its intervals, a line a method; None for a single number.

    Parameters
    ----------
    groups : sequence of Group
        One a number of labels; those without a number are left out, and those that more labels were given to by hand,
        which may be of any class.
    """
    drawn = (group for group in groups if group.labels_per_class and not group.labels_given)
    known = sorted(drawn, key=lambda group: group.labels_per_class or 0)
    if len(known) < 2:
        return None
    figure, axes = new_chart("labels per class")
    figure.set_size_inches(5.0, 3.2)
    methods = list(dict.fromkeys(standing.method for group in known for standing in group.standings))
    ends = []
    sizes = [group.labels_per_class or 0 for group in known]
    for number, (method, aside) in enumerate(zip(methods, _asides(len(methods), sizes), strict=True)):
        points = [
            (group.labels_per_class or 0, standing)
            for group in known
            for standing in group.standings
            if standing.method == method
        ]
        color, style = _LINES[number % len(_LINES)]
        axes.errorbar(
            [labels * aside for labels, _ in points],
            [standing.test_accuracy for _, standing in points],
            yerr=[
                [max(0.0, standing.test_accuracy - standing.low) for _, standing in points],
                [max(0.0, standing.high - standing.test_accuracy) for _, standing in points],
            ],
            color=color,
            linestyle=style,
            marker=_MARKERS[number % len(_MARKERS)],
            ms=3.5,
            lw=1.4,
            elinewidth=1,
            label=method,
        )
        ends.append(f"{method} {points[0][1].test_accuracy:.1%} to {points[-1][1].test_accuracy:.1%}")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(in_percent())
    with matplotlib.rc_context(STYLE):
        axes.legend(**_BELOW)
    text = f"Test accuracy over {sizes[0]:,} to {sizes[-1]:,} labels per class: {', '.join(ends)}"
    return as_svg(figure, text)


def _asides(count: int, sizes: Sequence[int]) -> list[float]:
    """Return by what each method's numbers of labels are multiplied, so that intervals do not cover each other.

    Examples
    --------
    >>> few, many = _asides(2, [10, 50]), _asides(27, [10, 20])
    >>> round(few[1] / few[0], 2), 10 * many[-1] < 20 * many[0]
    (1.03, True)
    """
    nearest = min(more / fewer for fewer, more in itertools.pairwise(sizes))
    step = min(_ASIDE, nearest ** (_SPREAD / max(1, count - 1)))
    return [step ** (number - (count - 1) / 2) for number in range(count)]


def reliability_chart(trust: Trust) -> Markup:
    """Return accuracy over confidence with its intervals, the diagonal beside it."""
    figure, axes = new_chart("confidence")
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1, linestyle=":")
    axes.errorbar(
        [one.confidence for one in trust.bins],
        [one.accuracy for one in trust.bins],
        yerr=[
            [max(0.0, one.accuracy - one.accuracy_low) for one in trust.bins],
            [max(0.0, one.accuracy_high - one.accuracy) for one in trust.bins],
        ],
        color=FIRST,
        marker="o",
        ms=4,
        lw=1.4,
        elinewidth=1,
    )
    most = max(one.images for one in trust.bins)
    axes.bar(
        [(one.low + one.high) / 2 for one in trust.bins],
        [0.2 * one.images / most for one in trust.bins],
        width=[one.high - one.low for one in trust.bins],
        color=LINE,
        zorder=0,
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
        axis.set_major_formatter(in_percent())
    axes.set_ylabel("accuracy")
    told = "; ".join(f"confidence {one.confidence:.0%}, accuracy {one.accuracy:.0%}" for one in trust.bins)
    return as_svg(figure, f"Accuracy by confidence: {told}")


def selective_chart(trust: Trust) -> Markup:
    """Return accuracy over the share of the images that is answered, the surest first."""
    figure, axes = new_chart("share answered, the surest first")
    shares, accuracies = zip(*trust.selective, strict=True)
    axes.plot(shares, accuracies, color=FIRST, marker="o", ms=3, lw=1.4)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(max(0.0, min(accuracies) - 0.05), 1.01)
    axes.set_yticks([tick for tick in axes.get_yticks() if tick <= 1], minor=False)
    axes.xaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(in_percent())
    axes.set_ylabel("accuracy")
    told = ", ".join(f"{accuracy:.0%} on {share:.0%}" for share, accuracy in trust.selective[::3])
    return as_svg(figure, f"Accuracy on the surest images: {told}")


def cost_chart(group: Group) -> Markup | None:
    """Return test accuracy over the seconds of a training with its intervals; None for a single method."""
    if len(group.standings) < 2:
        return None
    figure, axes = new_chart("seconds of training")
    figure.set_size_inches(5.0, 3.0)
    for number, standing in enumerate(group.standings):
        axes.errorbar(
            [standing.spent("fit_seconds")],
            [standing.test_accuracy],
            yerr=[
                [max(0.0, standing.test_accuracy - standing.low)],
                [max(0.0, standing.high - standing.test_accuracy)],
            ],
            color=_LINES[number % len(_LINES)][0],
            linestyle="",
            marker=_MARKERS[number % len(_MARKERS)],
            ms=5,
            elinewidth=1,
            label=standing.method,
        )
    axes.set_xlim(0, 1.05 * max(standing.spent("fit_seconds") for standing in group.standings) or 1)
    axes.yaxis.set_major_formatter(in_percent())
    with matplotlib.rc_context(STYLE):
        axes.legend(**_BELOW)
    told = ", ".join(
        f"{standing.method} {standing.test_accuracy:.1%} in {standing.spent('fit_seconds'):,.1f} seconds"
        for standing in group.standings
    )
    return as_svg(figure, f"Test accuracy over the time of training: {told}")


def rounds_chart(rounds: Sequence[dict[str, Any]]) -> Markup | None:
    """Return how good the labels are that the pool was given, round by round; None for fewer than two rounds."""
    if len(rounds) < 2:
        return None
    figure, axes = new_chart("round")
    told = []
    for key, label, color, style in (
        ("precision", "right of those given", GOOD, "-"),
        ("recall", "right of the pool", SECOND, "--"),
        ("pool_share", "share of the pool", MUTED, ":"),
        ("validation_accuracy", "accuracy on held-out images", FIRST, "-."),
    ):
        points = [(record["round"], record[key]) for record in rounds if is_number(record.get(key))]
        if points:
            numbers, values = zip(*points, strict=True)
            axes.plot(numbers, values, color=color, linestyle=style, marker="o", ms=3, lw=1.4, label=label)
            told.append(f"{label} {values[0]:.0%} to {values[-1]:.0%}")
    if not told:
        return None
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(in_percent())
    with matplotlib.rc_context(STYLE):
        axes.legend(**_BELOW)
    return as_svg(figure, f"Pseudo-labels over {len(rounds)} rounds: {', '.join(told)}")


def admitted_chart(history: Sequence[dict[str, Any]]) -> Markup | None:
    """Return which share of the guesses on pool images counted, over the steps; None where all always do."""
    events = on_one_axis(history)
    points = [(at, event[ADMITTED]) for at, event in events if is_number(event.get(ADMITTED))]
    if not points:
        return None
    figure, axes = new_chart("optimizer step")
    steps, shares = zip(*points, strict=True)
    axes.plot(steps, shares, color=FIRST, lw=1.4, marker="." if len(points) < 2 else "")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(in_percent())
    mark_stages(axes, events)
    return as_svg(figure, f"Share of pool guesses that counted, from {shares[0]:.0%} to {shares[-1]:.0%} at the end")
