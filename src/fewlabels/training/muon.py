"""Muon: momentum whose matrix updates are made orthogonal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from fewlabels.training.optimizers import Optimizer


class Muon(Optimizer):
    """Nesterov momentum with orthogonalized updates, for convolution filters and matrices.

    Each filter bank, reshaped to (outputs, everything else), is moved along the nearest semi-orthogonal
    matrix to its momentum, found by a quintic Newton-Schulz iteration; the bank's norm is held at
    sqrt(outputs), which takes the place of weight decay.

    Parameters
    ----------
    params : iterable of Tensor
        Tensors of two or more dimensions, or parameter groups of such.
    lr : float
        Length of a step, in units of the spectral norm.
    momentum : float
        Share of the old momentum that stays, in [0, 1).

    References
    ----------
    Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the norm constraint is
    that of cifar10-airbench.
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = 0.6) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].mul_(group["momentum"]).add_(parameter.grad)
                update = parameter.grad.add(momentum, alpha=group["momentum"])
                parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp_min(1e-12))
                parameter.add_(orthogonalize(update.flatten(1)).view_as(parameter), alpha=-group["lr"])


def orthogonalize(matrix: Tensor, iterations: int = 4) -> Tensor:
    """Return a matrix with the singular vectors of `matrix` and singular values near 1.

    The coefficients are those that raise small singular values fastest (Jordan, 2024); values end within
    about 0.7 to 1.2, which is close enough for an update.

    Examples
    --------
    >>> torch.linalg.svdvals(orthogonalize(torch.diag(torch.tensor([3.0, 1.0])))).min() > 0.5
    tensor(True)
    """
    tall = matrix.shape[0] > matrix.shape[1]
    rows: Tensor = matrix.T if tall else matrix
    rows = rows / (rows.norm() + 1e-7)
    # Every iterate is a polynomial of the Gram matrix times the rows, and polynomials of one matrix commute: so
    # the iteration runs on the small square matrix alone, at a fraction of the arithmetic.
    gram = rows @ rows.T
    product: Tensor | None = None
    for step in range(iterations):
        squared = gram @ gram
        factor = 2.0315 * squared - 4.775 * gram
        factor.diagonal().add_(3.4445)
        product = factor if product is None else factor @ product
        if step + 1 < iterations:
            gram = factor @ gram @ factor
    result = rows if product is None else product @ rows
    return result.T if tall else result
