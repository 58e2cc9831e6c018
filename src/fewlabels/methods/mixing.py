"""Mixtures of samples and of their targets."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def one_hot(classes: Tensor, count: int) -> Tensor:
    """Return float32 targets of shape (batch, count); unlike torch's function it never looks at a value on the host.

    Examples
    --------
    >>> one_hot(torch.tensor([1, 0]), 2)
    tensor([[0., 1.],
            [1., 0.]])
    """
    return torch.zeros(len(classes), count, device=classes.device).scatter_(1, classes.unsqueeze(1), 1.0)


def mixup(inputs: Tensor, targets: Tensor, alpha: float, draws: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return each sample mixed with another one of the batch, itself being the larger part.

    Zhang et al., "mixup: beyond empirical risk minimization", 2018, in the form of Berthelot et al.,
    "MixMatch", 2019: l = max(b, 1 - b) with b from Beta(alpha, alpha), drawn for each sample.

    Parameters
    ----------
    inputs : Tensor
        (batch, ...).
    targets : Tensor
        Class probabilities, (batch, classes).
    alpha : float
        Of the Beta distribution, > 0.
    draws : numpy.random.Generator
        Source of the randomness, on the host: nothing is read from the device.
    """
    share = draws.beta(alpha, alpha, len(inputs)).astype(np.float32)
    larger = torch.from_numpy(np.maximum(share, 1 - share)).to(inputs.device)
    partner = torch.from_numpy(draws.permutation(len(inputs))).to(inputs.device)
    shape = (-1,) + (1,) * (inputs.ndim - 1)
    mixed = torch.lerp(inputs[partner], inputs, larger.view(shape).to(inputs.dtype))
    return mixed, torch.lerp(targets[partner], targets, larger.view(-1, 1))
