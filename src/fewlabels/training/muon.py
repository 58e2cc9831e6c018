"""Muon: momentum whose matrix updates are made orthogonal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            gradients = [parameter.grad for parameter in parameters]
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter]["momentum"] = torch.zeros_like(parameter)
            momenta = [self.state[parameter]["momentum"] for parameter in parameters]
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_add_(momenta, gradients)
            updates = torch._foreach_add(gradients, momenta, alpha=group["momentum"])
            rows = [_as_matrix(update, like) for update, like in zip(updates, parameters, strict=True)]
            lengths = torch.stack(torch._foreach_norm(parameters)).clamp_min_(1e-12).reciprocal_()
            for parameter, update, square, length in zip(parameters, rows, levelers(rows), lengths, strict=True):
                weights = _as_matrix(parameter, parameter)
                weights.mul_(len(parameter) ** 0.5 * length)
                weights.addmm_(*(square, update) if _is_wide(update) else (update, square), alpha=-group["lr"])
                if weights.data_ptr() != parameter.data_ptr():  # a copy, of weights that lie otherwise
                    parameter.copy_(weights.view_as(parameter))


def orthogonalize(matrix: Tensor, iterations: int = 4) -> Tensor:
    """Return a matrix with the singular vectors of `matrix` and singular values near 1.

    The coefficients are those that raise small singular values fastest (Jordan, 2024); values end within
    about 0.7 to 1.2, which is close enough for an update.

    Examples
    --------
    >>> torch.linalg.svdvals(orthogonalize(torch.diag(torch.tensor([3.0, 1.0])))).min() > 0.5
    tensor(True)
    """
    [square] = levelers([matrix], iterations)
    return square @ matrix if _is_wide(matrix) else matrix @ square


def levelers(matrices: Sequence[Tensor], iterations: int = 4) -> list[Tensor]:
    """Return what matrices are to be multiplied with to be orthogonalized: on their smaller side.

    Parameters
    ----------
    matrices : sequence of Tensor
        Of any sizes. Those that agree in their smaller side share the calls of the iteration.
    iterations : int
        At least 1.

    Examples
    --------
    >>> [square] = levelers([torch.ones(2, 5)])
    >>> square.shape
    torch.Size([2, 2])
    """
    found = list(matrices)
    alike: dict[int, list[int]] = {}
    for place, matrix in enumerate(matrices):
        alike.setdefault(min(matrix.shape), []).append(place)
    for places in alike.values():
        wide = [matrices[place] if _is_wide(matrices[place]) else matrices[place].T for place in places]
        scale = (torch.stack(torch._foreach_norm(wide)) + 1e-7).reciprocal_().view(-1, 1, 1)
        # Every iterate is a polynomial of the Gram matrix times the rows, and polynomials of one matrix commute: so
        # the iteration runs on the small square matrix alone, at a fraction of the arithmetic.
        gram = torch.stack([rows @ rows.T for rows in wide]).mul_(scale.square())
        product: Tensor | None = None
        for iteration in range(iterations):
            factor = torch.baddbmm(gram, gram, gram, beta=-4.775, alpha=2.0315)
            factor.diagonal(dim1=1, dim2=2).add_(3.4445)
            product = factor if product is None else torch.bmm(factor, product)
            if iteration + 1 < iterations:
                gram = torch.bmm(factor, torch.bmm(gram, factor))
        assert product is not None
        for place, square in zip(places, product.mul_(scale), strict=True):
            found[place] = square
    return found


def _is_wide(matrix: Tensor) -> bool:
    return matrix.shape[0] <= matrix.shape[1]


def _as_matrix(filters: Tensor, like: Tensor) -> Tensor:
    """Return filters as rows, whose columns are in the order that a parameter has in memory: any order is as good."""
    if like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last):
        return filters.permute(0, 2, 3, 1).flatten(1)
    return filters.flatten(1)
