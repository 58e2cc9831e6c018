"""What a fit chose for itself, and which images each choice looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewlabels.methods.guard import (
    after_pretraining,
    had_nothing_to_compare_on,
    has_fallen_back_on_pretrained,
    was_held_back,
)
from fewlabels.storage.wording import counted
from fewlabels.training.kept import AVERAGE, BEST

if TYPE_CHECKING:
    from fewlabels.methods.base import SemiSupervisedClassifier

_NO_IMAGES = "nothing: it was fixed before"
_NONE_HELD_OUT = "nothing: no images were held out"


def choices(method: SemiSupervisedClassifier) -> list[dict[str, str]]:
    """Return what a fit chose, one dict a choice: `choice`, `result` and `looked_at`.

    Test images are none of it: they are not given to `fit`.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        Fitted.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> facts = {"settings_": {"budget": None}, "used_weights_": "last", "n_validation_": 0, "temperature_": 1.0}
    >>> [row["looked_at"] for row in choices(SimpleNamespace(**facts, stage_steps_={"classifier": 500}))]
    ['nothing: it was fixed before', 'nothing: it was fixed before', 'nothing: no images were held out']
    """
    held_out = counted(method.n_validation_, "held-out image") if method.n_validation_ else _NONE_HELD_OUT
    found = [_length(method), _weights(method, held_out), _temperature(method, held_out)]
    choice = getattr(method, "choice_", None)
    if choice is not None:
        looked = "the numbers of labels, classes and pool images, their size and the length of training"
        if choice["trials"]:
            looked += "; halves of the labeled images learned from, in turn"
        found.insert(0, _row("method", choice["method"], looked))
    if hasattr(method, "penalty_"):
        looked = method._penalty_looked_at_ or _NO_IMAGES
        found.append(_row("penalty of the linear classifier", f"{method.penalty_:g}", looked))
    if hasattr(method, "patch_share_"):
        looked = held_out if method.settings_.get("patch_share") is None and method.n_validation_ else _NO_IMAGES
        found.append(_row("share of the patches in the answer", f"{method.patch_share_:.0%}", looked))
    held_back = was_held_back(method)
    if hasattr(method, "rounds_") and not held_back:
        kept = sum(bool(record["accepted"]) for record in method.rounds_)
        looked = held_out if method._rounds_judged_ else _NO_IMAGES
        found.append(_row("rounds of self-training", f"{kept} kept of {len(method.rounds_)} made", looked))
    if hasattr(method, "pool_prior_") and not held_back:
        looked = "the labeled images learned from, and the pool's images without labels"
        found.append(_row("what of the pool to learn from", f"{method.pool_inside_share_:.0%} at most", looked))
    guard = getattr(method, "guard_", None)
    if guard is not None:
        after = after_pretraining(has_fallen_back_on_pretrained(method))
        result = "the method's own" if guard["accepted"] else f"those that learned from the labels alone{after}"
        looked = "no image: the budget is too short for any pool to pay" if held_back else held_out
        if had_nothing_to_compare_on(method):
            looked = "no image: none is held out"
        found.append(_row("weights that the guard took", result, looked))
    return found


def _length(method: SemiSupervisedClassifier) -> dict[str, str]:
    steps = ", ".join(f"{stage} {count:,}" for stage, count in method.stage_steps_.items()) or "none"
    asked = method.settings_.get("budget")
    looked = _NO_IMAGES if asked is None else f"no image's label: a few steps were timed for the budget of {asked}"
    return _row("optimizer steps", steps, looked)


def _weights(method: SemiSupervisedClassifier, held_out: str) -> dict[str, str]:
    used = method.used_weights_
    result = {BEST: "those best on validation", AVERAGE: "the moving average"}.get(used, "those of the last step")
    return _row(
        "weights to predict with", result, f"{held_out}, some of them on the way" if used == BEST else _NO_IMAGES
    )


def _temperature(method: SemiSupervisedClassifier, held_out: str) -> dict[str, str]:
    looked = held_out
    if getattr(method, "_calibrated_left_out_", False):
        folds = "the labeled images learned from, each left out in turn"
        looked = f"{folds}, and {held_out}" if method.n_validation_ else folds
    return _row("temperature of the probabilities, and limits of prediction sets", f"{method.temperature_:.2f}", looked)


def _row(choice: str, result: str, looked_at: str) -> dict[str, str]:
    return {"choice": choice, "result": result, "looked_at": looked_at}
