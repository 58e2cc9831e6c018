"""A comparison as one self-contained HTML page."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from fewlabels.evaluation.conditions import labels_are_kept
from fewlabels.evaluation.records import Comparison
from fewlabels.report import formats
from fewlabels.report.cost import cost_view
from fewlabels.report.curves import learning_curves
from fewlabels.report.method import method_view
from fewlabels.report.overview import Scale, draw_text, group_view, varied_text
from fewlabels.report.room import Room
from fewlabels.storage.atomic import write_text
from fewlabels.storage.page_templates import page_templates
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

    Examples
    --------
    >>> import tempfile
    >>> from fewlabels.evaluation import compare
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = compare("digits", methods=["supervised"], steps=5, out=Path(folder, "run"), check=False)
    ...     text = write_report(found, Path(folder, "page.html")).read_text(encoding="utf-8")
    >>> text.startswith("<!doctype html>")
    True
    """
    target = Path(path)
    write_text(target, render_report(comparison))
    return target


def render_report(comparison: Comparison) -> str:
    """Return the HTML text of a comparison's report."""
    class_names = tuple(visible(name) for name in comparison.class_names)
    groups = comparison.groups
    data = comparison.config.get("data") or {}
    names = list(dict.fromkeys(run.method for run in comparison.runs))
    room = Room(_LARGEST_PAGE, parts=sum(len(group.standings) for group in groups))
    script = resources.files("fewlabels.report").joinpath("templates/script.js").read_text(encoding="utf-8")
    template = _templates().get_template("report.html.j2")
    return template.render(
        script=Markup(script),
        script_hash=_hash_of(script),
        config=comparison.config,
        data=data,
        draws={draw_text(name, facts): facts for name, facts in data.items()},
        notes=list(dict.fromkeys(note for part in data.values() for note in part["notes"])),
        check=comparison.config.get("check"),
        groups=[group_view(group, same_labels=labels_are_kept(comparison.config)) for group in groups],
        curves=learning_curves(groups),
        varied=varied_text(comparison.config),
        advice=[formats.sentence(line) for line in comparison.advice()],
        labeled=formats.span([part["labeled"] for part in data.values()]),
        pool=formats.span([part["pool"] for part in data.values()]),
        scale=Scale(groups),
        several=len(groups) > 1,
        methods=[method_view(name, groups, class_names, room) for name in names],
        cost=cost_view(groups, comparison.config.get("embedded")),
        seeds=max(len(standing.runs) for group in groups for standing in group.standings),
        class_names=class_names,
    )


# Some write many reports in one process.
@functools.cache
def _templates() -> Environment:
    return page_templates(
        "fewlabels.report",
        formats.shown,
        percent=formats.share,
        number=formats.number,
        setting=formats.setting,
        duration=formats.duration,
        sentence=formats.sentence,
    )


def _hash_of(script: str) -> str:
    """Return what the page's policy names its one script by, so that no other would run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
