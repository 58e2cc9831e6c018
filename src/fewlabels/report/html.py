"""A comparison as one self-contained HTML page."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fewlabels.evaluation.contenders import idea_of
from fewlabels.evaluation.metrics import confusion_matrix
from fewlabels.evaluation.records import Comparison
from fewlabels.evaluation.run import Run
from fewlabels.evaluation.standings import Duel, Group, Standing
from fewlabels.evaluation.verdicts import (
    caveat,
    duel_sentence,
    headline,
    labels_text,
    percent,
    pool_sentence,
    standing_sentences,
)
from fewlabels.methods import METHODS
from fewlabels.report.curves import learning_curves, reliability_chart, selective_chart
from fewlabels.report.figures import accuracy_chart, confusion_chart, loss_chart, picture
from fewlabels.storage.atomic import write_text
from fewlabels.storage.visible import visible

# A page that is mailed and opened on a phone: past this, further pictures are left out.
_LARGEST_PAGE = 4_000_000


def write_report(comparison: Comparison, path: str | Path) -> Path:
    """Write a comparison as one HTML file that needs no network, and return its path.

    Parameters
    ----------
    comparison : Comparison
        With at least one run.
    path : str or Path
        The file to write.
    """
    target = Path(path)
    write_text(target, render_report(comparison))
    return target


def render_report(comparison: Comparison) -> str:
    """Return the HTML text of a comparison's report."""
    environment = Environment(
        loader=PackageLoader("fewlabels.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "number": _number, "setting": _setting}
    class_names = tuple(visible(name) for name in comparison.class_names)
    groups = comparison.groups
    budget = _Budget(_LARGEST_PAGE)
    data = comparison.config.get("data") or {}
    names = list(dict.fromkeys(run.method for run in comparison.runs))
    return environment.get_template("report.html.j2").render(
        config=comparison.config,
        data=data,
        notes=list(dict.fromkeys(note for part in data.values() for note in part["notes"])),
        check=comparison.config.get("check"),
        groups=[_group_view(group, has_pool=comparison.has_pool) for group in groups],
        curves=learning_curves(groups),
        varied=_varied_text(comparison.config),
        advice=[sentence[0].upper() + sentence[1:] + "." for sentence in comparison.advice()],
        labeled=_range([part["labeled"] for part in data.values()]),
        pool=_range([part["pool"] for part in data.values()]),
        scale=_Scale(groups),
        several=len(groups) > 1,
        methods=[_method_view(name, groups, class_names, budget) for name in names],
        seeds=max(len(standing.runs) for group in groups for standing in group.standings),
        class_names=class_names,
    )


def _shown(value: Any) -> Any:
    """Return what a page may show: text without hidden characters; Jinja escapes it as HTML afterwards."""
    return visible(value, keep="\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value


class _Budget:
    """Counts what pictures cost and says when there is room for no more."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def take(self, *contents: Any) -> bool:
        self.left -= sum(len(content) for content in contents if content is not None)
        return self.left > 0


class _Scale:
    """The accuracies that the interval bars span, as round numbers."""

    def __init__(self, groups: list[Group]) -> None:
        standings = [standing for group in groups for standing in group.standings]
        self.low = math.floor(min(standing.low for standing in standings) * 20 - 0.2) / 20
        self.high = min(1.0, math.ceil(max(standing.high for standing in standings) * 20 + 0.2) / 20)
        self.low = max(0.0, min(self.low, self.high - 0.1))

    def place(self, accuracy: float) -> str:
        return f"{100 * (accuracy - self.low) / (self.high - self.low):.2f}%"

    def width(self, low: float, high: float) -> str:
        return f"{100 * (high - low) / (self.high - self.low):.2f}%"


def _group_view(group: Group, *, has_pool: bool) -> dict[str, Any]:
    duels = [(standing.method, group.pool_duel(standing.method)) for standing in group.standings] if has_pool else []
    return {
        "pool": [(name, _direction(duel), pool_sentence(duel)) for name, duel in duels if duel is not None],
        "labels": labels_text(group.labels_per_class),
        "headline": headline(group),
        "caveat": caveat(group),
        "standings": group.standings,
        "best": group.best.method,
    }


def _method_view(name: str, groups: list[Group], class_names: tuple[str, ...], budget: _Budget) -> dict[str, Any]:
    parts = []
    for group in groups:
        for standing in group.standings:
            if standing.method == name:
                parts.append(_standing_view(group, standing, class_names, budget))
    known = METHODS.get(name)
    return {
        "name": name,
        "idea": (inspect.getdoc(known) or "").partition("\n")[0] if known else idea_of(name),
        "parts": parts,
        "first": parts[0]["run"],
    }


def _standing_view(group: Group, standing: Standing, class_names: tuple[str, ...], budget: _Budget) -> dict[str, Any]:
    run = standing.runs[0]
    facts = standing_sentences(standing)[len(standing.duels) :]
    view: dict[str, Any] = {
        "labels": labels_text(group.labels_per_class),
        "standing": standing,
        "run": run,
        "duels": [(_direction(duel), duel_sentence(duel)) for duel in standing.duels],
        "facts": [fact[0].upper() + fact[1:] + "." for fact in [*facts, *run.findings]],
        "choices": run.choices,
        "weights": run.weights,
        "trust": run.trust,
        "has_truth": any(record.get("precision") is not None for record in run.rounds),
    }
    return view | _pictures(run, class_names, budget)


def _pictures(run: Run, class_names: tuple[str, ...], budget: _Budget) -> dict[str, Any]:
    counts = confusion_matrix(run.test_labels, run.guesses, len(class_names))
    view: dict[str, Any] = {
        "loss": loss_chart(run.history),
        "accuracy": accuracy_chart(run.history),
        "reliability": None if run.trust is None else reliability_chart(run.trust),
        "selective": None if run.trust is None else selective_chart(run.trust),
        "confusion": confusion_chart(counts, class_names),
        "mistakes": [
            {
                "image": picture(mistake.image),
                "truth": class_names[mistake.truth],
                "guess": class_names[mistake.guess],
                "confidence": mistake.confidence,
                "index": mistake.index,
            }
            for mistake in run.mistakes
        ],
        "reconstructions": []
        if run.reconstructions is None
        else [
            (picture(original), picture(made))
            for original, made in zip(run.reconstructions.originals, run.reconstructions.reconstructed, strict=True)
        ],
        "left_out": False,
    }
    images = [mistake["image"] for mistake in view["mistakes"]] + [
        uri for pair in view["reconstructions"] for uri in pair
    ]
    charts = ("loss", "accuracy", "reliability", "selective", "confusion")
    if budget.take(*(view[name] for name in charts), *images):
        return view
    return dict.fromkeys(charts) | {"mistakes": [], "reconstructions": [], "left_out": True}


def _varied_text(config: dict[str, Any]) -> str:
    """Return what differed from seed to seed, and what did not."""
    words = {
        "labels": "the labels drawn and the images held out",
        "weights": "the initial weights",
        "order": "the order of the images, their views and dropout",
    }
    varied = (config.get("arguments") or {}).get("vary") or list(words)
    text = _joined([words[name] for name in words if name in varied]) + " differed"
    kept = [words[name] for name in words if name not in varied]
    return text + (f"; {_joined(kept)} stayed as in the first seed" if kept else "")


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _direction(duel: Duel) -> str:
    if not duel.is_shown:
        return "same"
    return "better" if duel.result.difference > 0 else "worse"


def _number(value: Any, digits: int = 0) -> str:
    """Return a number with thousands separators, a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:,.{digits}f}"


def _range(counts: list[int]) -> str:
    if not counts:
        return "–"
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _setting(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
