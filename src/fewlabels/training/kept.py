"""The weights that a training leaves: the last ones, those that were best on held-out samples, their average."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LAST, BEST, AVERAGE = "last", "best-on-validation", "average"


class KeptWeights:
    """Copies a net's weights where a training says that they are the last, or measures them.

    Parameters
    ----------
    net : nn.Module
        Whose weights are kept.
    found : dict, optional
        Where they are kept; a new one when not given.

    Attributes
    ----------
    found : dict of str to dict
        By name, see `kept_state`: `LAST`, and `BEST` where accuracies on held-out samples were measured. Of weights
        that did equally well the later ones are kept.

    Examples
    --------
    >>> net = nn.Linear(1, 1)
    >>> kept = KeptWeights(net)
    >>> for step, accuracy in ((10, 0.7), (20, 0.8), (30, 0.75)):
    ...     kept.look(step, {"validation_accuracy": accuracy})
    >>> kept.found[BEST]["step"], kept.found[BEST]["validation_accuracy"]
    (20, 0.8)
    """

    # For a training that steps back or is continued.
    moves = ("found",)

    def __init__(self, net: nn.Module, found: dict[str, dict[str, Any]] | None = None) -> None:
        self._net = net
        self.found: dict[str, dict[str, Any]] = {} if found is None else found

    def look(self, step: int, accuracies: dict[str, float]) -> None:
        """Keep the weights if none before them did better on the held-out samples."""
        accuracy = accuracies.get("validation_accuracy")
        if accuracy is None:
            return
        best = self.found.get(BEST)
        if best is None or accuracy >= best["validation_accuracy"]:
            self.found[BEST] = kept_state(self._net, step, accuracy)

    def last(self, step: int) -> None:
        """Keep the weights as those of the last step."""
        self.found[LAST] = kept_state(self._net, step)


def kept_state(net: nn.Module, step: int, validation_accuracy: float | None = None) -> dict[str, Any]:
    """Return a net's weights as plain values that a checkpoint can hold.

    Returns
    -------
    dict
        `state`: a copy of its `state_dict`; `step`: after how many steps of its training; `validation_accuracy`: as
        measured on the way on some of the held-out samples, None if nothing was.
    """
    return {"state": copied_state(net), "step": step, "validation_accuracy": validation_accuracy}


def copied_state(net: nn.Module) -> dict[str, Tensor]:
    """Return a net's weights and buffers, detached copies."""
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def same_state(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Say whether two nets predict alike: whether their weights are equal in every bit, counters aside."""
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) for name, value in one.items() if value.is_floating_point()
    )
