"""A comparison together with its report, and told to trackers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from fewlabels import evaluation
from fewlabels.evaluation import Comparison
from fewlabels.evaluation.watched import Watching
from fewlabels.report.html import write_report
from fewlabels.storage.arguments import check_callable, check_kind
from fewlabels.tracking import TrackedComparison

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _called_as(function: Callable[_P, _R]) -> Callable[[Callable[..., _R]], Callable[_P, _R]]:
    """Give another function's signature and docstring, to checkers too, which take `functools.wraps` for no such."""
    return functools.wraps(function)


@_called_as(evaluation.compare)
def compare(
    source: Any = "digits",
    *,
    on_finished: Callable[[Comparison], None] | None = None,
    track: Sequence[str] | str | Watching | None = None,
    **options: Any,
) -> Comparison:
    """Compare methods, write `report.html` and tell trackers; see `fewlabels.evaluation.compare`.

    Parameters
    ----------
    source, on_finished, track, **options
        Those of `fewlabels.evaluation.compare`.
    """
    check_callable("on_finished", on_finished)
    watching, names = (track, None) if isinstance(track, Watching) else (None, track)
    if names is not None:
        check_kind("track", names, (str, Sequence), "names of trackers, such as ['tensorboard']")
    with TrackedComparison(names, resumed=bool(options.get("resume"))) as tracked:

        def finish(comparison: Comparison) -> None:
            if comparison.folder is not None:
                write_report(comparison, comparison.folder / "report.html")
            tracked.conclude(comparison)
            if on_finished is not None:
                on_finished(comparison)

        return evaluation.compare(source, on_finished=finish, track=watching or tracked, **options)
