"""A net whose weights are the moving average of another's: steadier, and mostly better, than the net itself."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


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
        self._source = nets
        self._step = 0

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the net as it is now."""
        decay = min(self.decay, (1 + self._step) / (10 + self._step)) if self.ramp else self.decay
        self._step += 1
        torch._foreach_lerp_(_values(self.nets), _values(self._source), 1 - decay)

    @torch.no_grad()
    def copy_to(self, nets: nn.Module) -> None:
        """Give a net the averaged weights."""
        for value, mean in zip(_values(nets), _values(self.nets), strict=True):
            value.copy_(mean)


def _values(nets: nn.Module) -> list[Tensor]:
    return [value for value in nets.state_dict().values() if value.is_floating_point()]
