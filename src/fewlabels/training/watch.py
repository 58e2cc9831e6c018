"""What goes wrong without an error: every image in one class, a threshold that admits nothing or everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

ADMITTED = "pool_admitted"
GUESSED = "classes_guessed"
# Of what is looked at on the way, that which is no number and so in no event.
POOL_GUESSES = "pool_guesses"
# What the evaluation makes of it, which knows the classes of the pool.
POOL_ACCURACY = "pool_accuracy"
# Fewer steps are a trial, in which a net may well have learned nothing yet.
LEAST_STEPS = 100
_LOOKS = 3
_SHARE = 0.3
_NOTHING, _EVERYTHING = 0.001, 0.999


def warnings_of(events: Sequence[dict[str, Any]], *, threshold_moves: bool = False) -> list[str]:
    """Return what to warn of in a stage so far, and what to change; the same sentence as long as it holds.

    Three looks in a row that find one class alone are a collapse. A threshold should be passed by some guesses: by
    none in three tenths of the training, or by all in its first three tenths, it does not do what it is there for.

    Parameters
    ----------
    events : sequence of dict
        Of one stage, in order, as `fewlabels.training.monitor.Monitor` collects them.
    threshold_moves : bool
        Whether the method moves it by itself, from one that all guesses may pass.

    Examples
    --------
    >>> events = [{"stage": "s", "step": i, "steps": 100, "pool_admitted": 0.0} for i in range(1, 40)]
    >>> print(*warnings_of(events))  # doctest: +ELLIPSIS
    s: for a long time no guess on the pool has passed the threshold, ...
    """
    if not events or events[-1]["steps"] < LEAST_STEPS:
        return []
    stage, steps = events[-1]["stage"], events[-1]["steps"]
    found = []
    guessed = [event[GUESSED] for event in events if GUESSED in event][-_LOOKS:]
    if len(guessed) == _LOOKS and set(guessed) == {1}:
        found.append(
            f"{stage}: the net puts every image into the same class; try a lower learning_rate, a lower "
            "unlabeled_weight where there is one, or more labels of each class"
        )
    shares = [(event["step"], event[ADMITTED]) for event in events if ADMITTED in event]
    if not shares:
        return found
    now = shares[-1][0]
    late = [share for step, share in shares if step > now - _SHARE * steps]
    if now >= _SHARE * steps and max(late) < _NOTHING:
        found.append(
            f"{stage}: for a long time no guess on the pool has passed the threshold, so that the pool has taught "
            f"nothing; lower threshold{' where there is one' if threshold_moves else ''}, or train for longer"
        )
    if threshold_moves:
        return found
    early = [share for step, share in shares if step <= _SHARE * steps]
    if now >= _SHARE * steps and min(early) > _EVERYTHING:
        found.append(
            f"{stage}: from the start every guess on the pool has passed the threshold, so that it holds no wrong one "
            "back; raise threshold"
        )
    return found
