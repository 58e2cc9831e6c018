"""Batch normalization's running statistics: who may change them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

# Of a standard deviation that single precision can be divided by.
_SMALLEST = 1e-30


def divisors(std: Tensor, mean: Tensor) -> Tensor:
    """Return what to divide standardized values by: standard deviations, and 1 where a value never changes.

    Its rounding noise says nothing, and dividing by that would make it shout.

    Examples
    --------
    >>> import torch
    >>> divisors(torch.tensor([2.0, 0.0, 1e-9, 1e-9]), torch.tensor([0.0, 5.0, 5.0, 1e-9])).tolist()
    [2.0, 1.0, 1.0, 9.999999717180685e-10]
    """
    # In proportion to the mean, as rounding is: a unit in which all values are small is as good as another.
    return torch.where(std > (1e-6 * mean.abs()).clamp_min(_SMALLEST), std, torch.ones_like(std))


@contextlib.contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Normalize by the batch's own statistics inside the block, but keep the running ones as they are.

    Examples
    --------
    >>> import torch
    >>> norm = nn.BatchNorm1d(2)
    >>> with frozen_statistics(norm):
    ...     _ = norm(torch.randn(8, 2) + 5)
    >>> norm.running_mean
    tensor([0., 0.])
    """
    norms = [(norm, norm.momentum) for norm in module.modules() if isinstance(norm, _BatchNorm)]
    for norm, _ in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in norms:
            norm.momentum = momentum
