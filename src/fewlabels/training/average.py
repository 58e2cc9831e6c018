"""A net whose weights are the moving average of another's: steadier, and mostly better, than the net itself."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """Exponential moving average of all parameters and floating-point buffers of a net.

    Parameters
    ----------
    nets : nn.Module
        Followed from here on.
    decay : float
        Share of the old average that stays at each step, in [0, 1).
    ramp : bool
        In the first steps let only (1 + step) / (10 + step) stay, as a random start would be carried along
        for long otherwise.

    Attributes
    ----------
    nets : nn.Module
        A copy with the averaged weights, in evaluation mode; no gradient flows into it.

    References
    ----------
    Tarvainen & Valpola, "Mean teachers are better role models", 2017.

    Examples
    --------
    >>> net = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.zeros_(net.weight)
    >>> average = WeightAverage(net, decay=0.5)
    >>> _ = nn.init.ones_(net.weight)
    >>> for _ in range(3):
    ...     average.update()
    >>> average.nets.weight.item()  # decays of 1/10, 2/11 and 3/12 come first
    0.9954545497894287
    """

    moves = ("nets", "_step")

    def __init__(self, nets: nn.Module, decay: float, *, ramp: bool = True) -> None:
        self.decay, self.ramp = decay, ramp
        self.nets = copy.deepcopy(nets).requires_grad_(False).eval()
        self._followed = list(zip(_places(self.nets), _places(nets), strict=True))
        self._step = 0

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the net as it is now."""
        decay = min(self.decay, (1 + self._step) / (10 + self._step)) if self.ramp else self.decay
        self._step += 1
        means, values = [], []
        for (its, name), (source, _) in self._followed:
            means.append(its[name])
            values.append(source[name])
        torch._foreach_lerp_(means, values, 1 - decay)

    @torch.no_grad()
    def copy_to(self, nets: nn.Module) -> None:
        """Give a net the averaged weights."""
        for (its, name), (target, _) in zip(_places(self.nets), _places(nets), strict=True):
            target[name].copy_(its[name])


def _places(nets: nn.Module) -> list[tuple[dict[str, Any], str]]:
    """Return where a net holds what is averaged: a module may put another tensor there, as some do with buffers."""
    found: list[tuple[dict[str, Any], str]] = []
    seen: set[int] = set()
    for module in nets.modules():
        for held in (module._parameters, module._buffers):
            for name, value in held.items():
                kept = name not in module._non_persistent_buffers_set
                if value is not None and value.is_floating_point() and kept and id(value) not in seen:
                    found.append((held, name))
                    seen.add(id(value))  # a weight that layers share moves once
    return found
