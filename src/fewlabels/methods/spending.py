"""How many steps of a stage a budget allows: what a step costs, and what has to be left for other things."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from fewlabels.methods.looks import look
from fewlabels.methods.prediction import predict_logits
from fewlabels.nets import QUICKEST, QUICKEST_FROM, Classifier, is_backbone
from fewlabels.storage.wording import counted, enumeration
from fewlabels.training.batches import Batches, Rows
from fewlabels.training.budget import parse_seconds
from fewlabels.training.loop import EVALUATIONS, Loss, train
from fewlabels.training.monitor import Monitor
from fewlabels.training.recipe import Recipe
from fewlabels.training.watch import LEAST_STEPS

if TYPE_CHECKING:
    from fewlabels.methods.session import Session

_TIMED = 1000
# Of a time budget, for looks at accuracies.
_LOOKS_SHARE = 0.1


def cost_of_step(
    session: Session,
    nets: nn.Module,
    loss: Loss,
    batches: Callable[[], Batches],
    *,
    recipe: Recipe | None = None,
    rate_factors: dict[str, float] | None = None,
) -> float:
    """Return what a step of a stage costs, and leave no trace: nets and seeds are as if nothing had been.

    See `train` for the parameters.
    """
    budget = session.budget
    assert budget is not None

    def run(count: int, after_step: Callable[[], None]) -> int:
        monitor = Monitor()
        train(
            nets,
            batches(),
            loss,
            steps=count,
            monitor=monitor,
            stage="timing",
            recipe=session.recipe if recipe is None else recipe,
            rate_factors=rate_factors,
            after_step=after_step,
            agreement=session.method.guard,
            processes=session.processes,
        )
        return monitor.gradient_images

    return session.decided(lambda: session.leaving_no_trace(nets, lambda: budget.cost_of_step(run)))


def steps_in_budget(
    session: Session,
    per_step: float,
    classifier: Classifier | None,
    *,
    share: float = 1.0,
    rest: Callable[[int], float] | None = None,
    stages: int = 1,
) -> int:
    """Return how many steps fit into what is left of the budget, at least 1.

    Parameters
    ----------
    per_step : float
        Cost of a step.
    classifier : Classifier, optional
        What is measured on the way and classifies in the end: time is set aside for both.
    share : float
        Of what is left.
    rest : callable, optional
        Returns the cost of what is not training, given the number of steps, before the share is taken.
    stages : int
        How many stages there are to be, each with its looks at accuracies; where those would take much of a
        short budget, there are fewer of them.
    """
    budget = session.budget
    assert budget is not None

    @cache
    def looks() -> float:
        if classifier is None:
            return 0.0
        budget.reserve(partial(seconds_to_fill, session, classifier))
        return stages * budget.cost_of(lambda: _seconds_to_look(session, classifier))

    def affordable() -> float:
        cost = looks()
        most = _LOOKS_SHARE * (budget.left() - (rest(1) if rest is not None else 0.0))
        return max(1, int(min(EVALUATIONS, most / cost))) if cost > 0 else EVALUATIONS

    def measured() -> float:
        free = budget.left() - session.evaluations * looks()
        # Rounding is not to cost a step.
        left = (1 + 1e-9) * free

        def cost(steps: int) -> float:
            return steps * per_step / share + (0.0 if rest is None else rest(steps))

        if cost(1) > left:
            return free / cost(1)
        most = max(1, int(share * free / per_step))
        return most if rest is None else bisect_left(range(1, most + 1), True, key=lambda steps: cost(steps) > left)

    session.evaluations = int(session.decided(affordable))
    fitting = session.decided(measured)
    if fitting < LEAST_STEPS and not session.is_trial:
        _tell_short(session, fitting)
    return max(1, int(fitting))


def tell_costly(session: Session, setting: str, cost: float) -> None:
    """Warn of a length that is asked for beside a budget, and costs more than what is left of that."""
    assert session.budget is not None
    left = session.decided(session.budget.left)
    if cost <= left or _is_told(session):
        return
    times = f"{cost / left:.1f} times what is left of it" if left > 0 else "far more"
    asked = f"{setting}={getattr(session.method, setting)}"
    session.monitor.note(
        f"budget={session.method.budget!r} has no room for {asked}, which takes {times}, and is overrun: leave "
        f"{setting} away, so that this stage has its share, or give more"
    )


def _is_told(session: Session) -> bool:
    return any(note.startswith("budget=") for note in session.monitor.notes)


def _tell_short(session: Session, steps: float) -> None:
    """Warn of a budget that allows so few steps, or no whole one; once."""
    if _is_told(session):
        return
    instead = []
    if not session.is_vectors and min(session.sample_shape[:2]) >= QUICKEST_FROM:
        instead.append("take smaller images")
        if is_backbone(session.method.net):
            instead.append("take a quicker net")
        elif session.method.net != QUICKEST:
            instead.append(f"take net={QUICKEST!r}, which is quicker")
    longer = f"give {math.ceil(LEAST_STEPS / steps):,} times as much" if steps > 0 else "give far more"
    count = "less than 1 step" if steps < 1 else counted(int(steps), "step")
    taken = " (1 is taken all the same)" if steps < 1 else ""
    budget = session.method.budget
    # Whoever leaves the unit away may have meant minutes.
    unit = "" if parse_seconds(f"{str(budget).strip()}s") is None else " (seconds)"
    session.monitor.note(
        f"budget={budget!r}{unit} is enough for {count} of a stage here{taken}, too few to learn much: "
        + enumeration([longer, *instead], last="or")
    )


def seconds_to_fill(session: Session, classifier: Classifier) -> float:
    """Return how long it takes to classify what is to be classified when training is done, measured on some of it."""
    return seconds_to_predict(session, classifier, session.to_fill, flip=session.flip, precision=torch.float32)


def seconds_to_predict(
    session: Session, classifier: Classifier, rows: Rows, *, flip: bool, precision: torch.dtype
) -> float:
    """Return how long predictions take for all rows, measured on some."""
    if not len(rows):
        return 0.0
    some = Rows([rows.sample(_TIMED, torch.device("cpu")).numpy()])
    for _ in range(2):  # the first time allocates
        began = session.clock()
        predict_logits(classifier, some, session.device, flip=flip, precision=precision)
        elapsed = session.clock() - began
    return elapsed * len(rows) / len(some)


def _seconds_to_look(session: Session, classifier: Classifier) -> float:
    for _ in range(2):  # the first time chooses kernels and allocates
        began = session.clock()
        look(session, classifier)
        elapsed = session.clock() - began
    return elapsed
