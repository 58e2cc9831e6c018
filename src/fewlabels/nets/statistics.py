"""What inputs are normalized by, and batch normalization's running statistics: who may change them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

# Of a standard deviation that single precision can be divided by.
_SMALLEST = 1e-30
# At each end of a column one value in so many may be unusual; so many times the range of the others beyond them, values
# are taken for faults.
_ONE_IN, _FAR = 20, 20.0


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


def drawn_in(vectors: Tensor) -> Tensor:
    """Return vectors whose values far beyond nearly all others of their column are drawn nearer, to normalize by.

    One corrupt value in thousands would otherwise be all that a mean and a deviation tell of. Where nine tenths of a
    column are within a range, values may lie 20 times that range beyond it; a column of which they are all equal, as of
    mostly zeros, is left alone.

    Parameters
    ----------
    vectors : Tensor
        (n, features); from 20 on, one value may be so far.

    Examples
    --------
    >>> drawn_in(torch.cat([torch.arange(20.0), torch.tensor([1e6])])[:, None]).amax()
    tensor(379.)
    """
    ordered = vectors.sort(0).values
    beyond = len(vectors) // _ONE_IN
    low, high = ordered[beyond], ordered[len(vectors) - 1 - beyond]
    margin = torch.where(high > low, _FAR * (high - low), torch.inf)
    return vectors.clamp(low - margin, high + margin)


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
