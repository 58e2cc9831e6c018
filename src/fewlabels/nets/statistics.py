"""Batch normalization's running statistics: who may change them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


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
