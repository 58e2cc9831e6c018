"""Running means that methods keep on the device: of class probabilities, confidences, thresholds."""

from __future__ import annotations

import torch
from torch import Tensor


class RunningMean:
    """Exponential moving average of what is given step by step; never read by the host.

    Parameters
    ----------
    start : Tensor
        First value; sets shape and device.
    decay : float
        Share of the old average that stays at each update, in [0, 1).

    Examples
    --------
    >>> mean = RunningMean(torch.tensor([0.5, 0.5]), decay=0.5)
    >>> mean.update(torch.tensor([1.0, 0.0]))
    tensor([0.7500, 0.2500])
    """

    def __init__(self, start: Tensor, decay: float) -> None:
        self.value = start.detach().clone().float()
        self.decay = decay

    @torch.no_grad()
    def update(self, value: Tensor) -> Tensor:
        """Move towards a value and return the new average."""
        self.value.lerp_(value.float(), 1 - self.decay)
        return self.value


def uniform(classes: int, device: torch.device) -> Tensor:
    """Return the uniform distribution over classes."""
    return torch.full((classes,), 1 / classes, device=device)


def aligned(given: Tensor, target: Tensor, seen: Tensor) -> Tensor:
    """Return probabilities moved so that what is seen on average becomes the target, rows summing to one.

    Distribution alignment (Berthelot et al., "ReMixMatch", 2020): p * target / seen.

    Examples
    --------
    >>> aligned(torch.tensor([[0.5, 0.5]]), torch.tensor([0.5, 0.5]), torch.tensor([0.8, 0.2]))
    tensor([[0.2000, 0.8000]])
    """
    moved = given * (target / seen.clamp_min(1e-6))
    return moved / moved.sum(1, keepdim=True)
