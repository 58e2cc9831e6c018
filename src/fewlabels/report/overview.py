"""The verdict and the table of results."""

from __future__ import annotations

import math
from typing import Any

from fewlabels.evaluation.conditions import has_one_draw, varied_in
from fewlabels.evaluation.standings import Duel, Group
from fewlabels.evaluation.verdicts import caveat, headline, labels_text, pool_lines
from fewlabels.storage.wording import enumeration


class Scale:
    """The accuracies that the interval bars span, as round numbers."""

    def __init__(self, groups: list[Group]) -> None:
        standings = [standing for group in groups for standing in group.standings]
        self.low = math.floor(min(standing.low for standing in standings) * 20 - 0.2) / 20
        self.high = min(1.0, math.ceil(max(standing.high for standing in standings) * 20 + 0.2) / 20)
        self.low = max(0.0, min(self.low, self.high - 0.1))

    def place(self, accuracy: float) -> str:
        """Return where an accuracy lies, in percent of the bar."""
        return f"{100 * (accuracy - self.low) / (self.high - self.low):.2f}%"

    def width(self, low: float, high: float) -> str:
        """Return how wide an interval is, in percent of the bar."""
        return f"{100 * (high - low) / (self.high - self.low):.2f}%"


def group_view(group: Group, *, same_labels: bool = False) -> dict[str, Any]:
    """Return what the page says of all methods at one number of labels; see `caveat` for `same_labels`."""
    return {
        "pool": [(name, direction(group.pool_duel(name)), sentence) for name, sentence in pool_lines(group).items()],
        "labels": labels_text(group.labels_per_class, group.labels_given),
        "headline": headline(group),
        "caveat": caveat(group, same_labels=same_labels),
        "standings": group.standings,
        "best": [standing.method for standing in group.leaders],
    }


def draw_text(name: str, facts: dict[str, Any]) -> str:
    """Return what a draw is called on the page, from its name in `config.json` and its facts.

    Examples
    --------
    >>> draw_text("1 labels per class, seed 0", {}), draw_text("all labels per class, seed 2", {})
    ('with 1 label per class, seed 0', 'with the labels of the source, seed 2')
    """
    size, _, seed = name.partition(" labels per class, ")
    return f"{labels_text(None if size == 'all' else int(size), facts.get('labels_given', 0))}, {seed}"


def direction(duel: Duel | None) -> str:
    """Return "better", "worse" or "same", where no difference is shown or nothing was compared."""
    if duel is None or not duel.is_shown:
        return "same"
    return "better" if duel.result.difference > 0 else "worse"


def varied_text(config: dict[str, Any]) -> str:
    """Return what differed from seed to seed, and what did not."""
    words = {
        "labels": "the labels drawn and the images held out",
        "weights": "the initial weights",
        "order": "the order of the images, their views and dropout",
    }
    if has_one_draw(config):
        words["labels"] = "the images held out"
    varied = varied_in(config)
    text = enumeration([words[name] for name in words if name in varied]) + " differed"
    kept = [words[name] for name in words if name not in varied]
    return text + (f"; {enumeration(kept)} stayed as in the first seed" if kept else "")
