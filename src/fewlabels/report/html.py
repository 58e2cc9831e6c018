"""From a comparison to one HTML file."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from fewlabels.evaluation import Comparison, Run
from fewlabels.evaluation.intervals import mean_interval
from fewlabels.evaluation.verdicts import difference_words, findings
from fewlabels.report.figures import confusion_matrix, learning_curves, picture
from fewlabels.storage.atomic import write_text

_ERRORS_SHOWN = 16


def write_report(comparison: Comparison, path: Path) -> Path:
    """Write the report of a comparison as one self-contained HTML file.

    Parameters
    ----------
    comparison : Comparison
        With at least one run.
    path : Path
        The file.
    """
    environment = Environment(
        loader=PackageLoader("fewlabels.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: "–" if value is None or not math.isfinite(value) else f"{value:.1%}"
    environment.filters["thousands"] = lambda value: f"{value:,}"
    template = environment.get_template("report.html.j2")
    page = template.render(
        comparison=comparison,
        verdicts=comparison.verdicts(),
        summary=_summary_rows(comparison),
        sections=[_section(comparison, method, labels) for labels in comparison.label_counts for method in comparison.methods if comparison.of(method, labels)],
        several_seeds=len({run.seed for run in comparison.runs}) > 1,
    )
    write_text(path, page)
    return path


def _summary_rows(comparison: Comparison) -> list[dict[str, Any]]:
    rows = []
    for labels in comparison.label_counts:
        for method in comparison.methods:
            runs = comparison.of(method, labels)
            if not runs:
                continue
            test, low, high = mean_interval([run.test_accuracy for run in runs])
            if len(runs) == 1:
                low, high = runs[0].test_low, runs[0].test_high
            rows.append(
                {
                    "method": method,
                    "labels": "all" if labels is None else labels,
                    "runs": len(runs),
                    "train": float(np.mean([run.train_accuracy for run in runs])),
                    "validation": float(np.mean([run.validation_accuracy for run in runs])),
                    "test": test,
                    "low": low,
                    "high": high,
                    "seconds": float(np.mean([run.fit_seconds for run in runs])),
                    "images": round(float(np.mean([run.gradient_images for run in runs]))),
                    "anchor": f"{method}-{labels}",
                }
            )
    best = max(row["test"] for row in rows)
    return [row | {"best": row["test"] == best} for row in rows]


def _section(comparison: Comparison, method: str, labels: int | None) -> dict[str, Any]:
    run = comparison.of(method, labels)[0]
    tests = comparison.tests_against_earlier(method, labels)
    return {
        "run": run,
        "anchor": f"{method}-{labels}",
        "tests": [f"{method} {difference_words(test, other, p)}." for other, test, p in tests],
        "findings": findings(run),
        "curves": _as_image(learning_curves(run.history)) if run.history else None,
        "matrix": _as_image(confusion_matrix(run.test_labels, run.guesses, comparison.class_names)),
        "errors": _errors(comparison, run),
        "reconstructions": _pairs(run),
        "settings": {key: value for key, value in run.settings.items() if key not in ("verbose", "device")},
    }


def _as_image(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _errors(comparison: Comparison, run: Run) -> list[dict[str, Any]]:
    """Return the test images that were wrong with the most confidence."""
    names = comparison.class_names
    confidences = run.test_probabilities.max(1)
    wrong = np.flatnonzero(~run.correct)
    shown = wrong[np.argsort(-confidences[wrong], kind="stable")][:_ERRORS_SHOWN]
    return [
        {
            "picture": picture(comparison.test_images[int(row)]),
            "true": names[run.test_labels[row]],
            "guess": names[run.guesses[row]],
            "confidence": float(confidences[row]),
        }
        for row in shown
    ]


def _pairs(run: Run) -> list[tuple[str, str]]:
    if run.reconstructions is None or run.reconstructions[0].ndim != 4:
        return []
    return [(picture(original), picture(made)) for original, made in zip(*run.reconstructions, strict=True)]
