"""Muon: what its steps are, of one matrix and of many, however they lie in memory."""

import pytest
import torch
from torch import nn

from fewlabels.training.muon import Muon, levelers, orthogonalize


def test_an_orthogonalized_matrix_keeps_its_singular_vectors_and_levels_its_values():
    torch.manual_seed(0)
    for shape in ((6, 20), (20, 6)):
        matrix = torch.randn(shape) @ torch.diag(torch.linspace(0.5, 2, shape[1]))
        result = orthogonalize(matrix, iterations=5)
        values = torch.linalg.svdvals(result)
        assert values.min() > 0.5
        assert values.max() < 1.3
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        aligned = u.T @ result @ v.T
        assert (aligned - torch.diag(aligned.diag())).abs().max() < 0.05


def test_muon_holds_the_norm_and_lowers_a_loss():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(4, 8))
    target = torch.randn(4, 8)
    target = target * 2 / target.norm()
    optimizer = Muon([weight], lr=0.05)
    losses = []
    for _ in range(80):
        loss = (weight - target).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]
    assert 1.5 < weight.norm() < 2.5


def test_matrices_of_one_side_are_leveled_as_each_alone():
    torch.manual_seed(0)
    matrices = [
        torch.randn(shape) * size for shape, size in (((6, 20), 1e-3), ((30, 6), 1e4), ((4, 4), 1), ((6, 7), 1))
    ]
    for matrix, square in zip(matrices, levelers(matrices), strict=True):
        assert square.shape == (min(matrix.shape),) * 2
        together = square @ matrix if matrix.shape[0] <= matrix.shape[1] else matrix @ square
        assert torch.allclose(together, orthogonalize(matrix), atol=1e-5)


def in_three_steps(weight: torch.Tensor, gradients: list[torch.Tensor], *, as_they_are: bool = False) -> torch.Tensor:
    """Return a weight after Muon's steps along gradients that lie in memory as it does, or as they are."""
    parameter = nn.Parameter(weight.clone())
    optimizer = Muon([parameter], lr=0.1)
    for gradient in gradients:
        parameter.grad = gradient if as_they_are else torch.empty_like(parameter).copy_(gradient)
        optimizer.step()
    assert parameter.stride() == weight.stride()
    return parameter.detach()


@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (40, 2, 3, 3)])
def test_how_filters_lie_in_memory_changes_nothing(shape):
    torch.manual_seed(0)
    filters, gradients = torch.randn(shape), [torch.randn(shape) for _ in range(3)]
    expected = in_three_steps(filters, gradients)
    last = filters.contiguous(memory_format=torch.channels_last)
    assert torch.allclose(in_three_steps(last, gradients), expected, atol=1e-5)
    assert torch.allclose(in_three_steps(last, gradients, as_they_are=True), expected, atol=1e-5)
    gradients_last = [gradient.contiguous(memory_format=torch.channels_last) for gradient in gradients]
    assert torch.allclose(in_three_steps(filters, gradients_last, as_they_are=True), expected, atol=1e-5)
    # Neither order: the filters of one another's place are neighbors.
    turned = in_three_steps(filters.permute(1, 0, 2, 3).contiguous().permute(1, 0, 2, 3), gradients)
    assert torch.allclose(turned, expected, atol=1e-5)
    assert not torch.allclose(expected, filters, atol=0.1)


def test_a_parameter_without_a_gradient_stays_where_it_is():
    still, moved = nn.Parameter(torch.randn(3, 5)), nn.Parameter(torch.randn(3, 5))
    before = still.detach().clone(), moved.detach().clone()
    moved.grad = torch.randn(3, 5)
    Muon([still, moved], lr=0.1).step()
    assert torch.equal(still, before[0])
    assert not torch.equal(moved, before[1])
