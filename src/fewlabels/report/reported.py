"""A comparison together with its report, and told to trackers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from fewlabels import evaluation
from fewlabels.evaluation import Comparison
from fewlabels.report.html import write_report
from fewlabels.tracking import TrackedComparison


@functools.wraps(evaluation.compare)
def compare(
    source: Any = "digits",
    *,
    on_finished: Callable[[Comparison], None] | None = None,
    track: Sequence[str] | str | None = None,
    **options: Any,
) -> Comparison:
    """Compare methods, write `report.html` and tell trackers; see `fewlabels.evaluation.compare`.

    Parameters
    ----------
    source, on_finished, **options
        Those of `fewlabels.evaluation.compare`.
    track : sequence of str, optional
        Keys of `fewlabels.tracking.TRACKERS`: "tensorboard", "mlflow". Each training is a run there, with its
        hyper-parameters, losses and accuracies on the way, and in the end the figures and confusion matrix of the test
        images; one more holds the learning curves.
    """
    with TrackedComparison(track, resumed=bool(options.get("resume"))) as tracked:

        def finish(comparison: Comparison) -> None:
            if comparison.folder is not None:
                write_report(comparison, comparison.folder / "report.html")
            tracked.conclude(comparison)
            if on_finished is not None:
                on_finished(comparison)

        return evaluation.compare(source, on_finished=finish, watching=tracked, **options)
