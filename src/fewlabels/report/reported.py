"""A comparison together with its report."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fewlabels import evaluation
from fewlabels.evaluation import Comparison
from fewlabels.report.html import write_report


@functools.wraps(evaluation.compare)
def compare(
    source: Any = "digits", *, on_finished: Callable[[Comparison], None] | None = None, **options: Any
) -> Comparison:
    """Compare methods and write `report.html`; arguments are those of `fewlabels.evaluation.compare`."""

    def finish(comparison: Comparison) -> None:
        if comparison.folder is not None:
            write_report(comparison, comparison.folder / "report.html")
        if on_finished is not None:
            on_finished(comparison)

    return evaluation.compare(source, on_finished=finish, **options)
