"""A comparison together with its report."""

from __future__ import annotations

import functools
from typing import Any

from fewlabels import evaluation
from fewlabels.evaluation import Comparison
from fewlabels.report.html import write_report


def _write(comparison: Comparison) -> None:
    write_report(comparison, comparison.folder / "report.html")


@functools.wraps(evaluation.compare)
def compare(source: Any = "digits", **options: Any) -> Comparison:
    return evaluation.compare(source, on_finished=_write, **options)
