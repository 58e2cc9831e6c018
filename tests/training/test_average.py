"""The moving average of a net: its arithmetic, and what it leaves alone."""

import pytest
import torch
from torch import nn

from fewlabels.training.average import WeightAverage


def moved(net, value):
    with torch.no_grad():
        net.weight.fill_(value)


@pytest.mark.parametrize("ramp", [True, False])
def test_the_average_follows_by_its_decay(ramp):
    net = nn.Linear(1, 1, bias=False)
    moved(net, 0.0)
    average = WeightAverage(net, decay=0.5, ramp=ramp)
    expected = 0.0
    for step in range(12):
        moved(net, float(step))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step)) if ramp else 0.5
        expected = decay * expected + (1 - decay) * step
        assert average.nets.weight.item() == pytest.approx(expected, rel=1e-5)
    assert net.weight.item() == 11.0


def test_statistics_are_averaged_and_counters_are_not():
    net = nn.BatchNorm1d(2)
    average = WeightAverage(net, decay=0.9, ramp=False)
    net(torch.randn(16, 2) + 5)
    average.update()
    expected = 0.1 * net.running_mean
    assert torch.allclose(average.nets.running_mean, expected)
    assert average.nets.num_batches_tracked == 0


def test_no_gradient_flows_into_the_average_and_it_predicts_as_it_is():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    average = WeightAverage(net, decay=0.9)
    inputs = torch.randn(4, 2)
    assert not average.nets(inputs).requires_grad
    assert torch.equal(average.nets(inputs), average.nets(inputs))  # evaluation mode: nothing is dropped
    target = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    average.copy_to(target)
    assert torch.equal(target[0].weight, average.nets[0].weight)
    assert target[0].weight.requires_grad


class Counting(nn.Module):
    """Puts another tensor in the place of its buffer, as some layers do."""

    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(1))
        self.register_buffer("scratch", torch.zeros(1), persistent=False)

    def forward(self, inputs):
        self.total = self.total + inputs.sum()
        self.scratch = self.scratch + 1
        return inputs


def test_a_buffer_that_is_replaced_is_still_followed():
    net = Counting()
    average = WeightAverage(net, decay=0.5, ramp=False)
    for _ in range(2):
        net(torch.ones(4))
        average.update()
    assert average.nets.total.item() == 0.5 * (0.5 * 4) + 0.5 * 8
    assert average.nets.scratch.item() == 0  # what is not saved is not averaged


def test_a_weight_that_two_layers_share_moves_once():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    net[1].weight = net[0].weight
    average = WeightAverage(net, decay=0.5, ramp=False)
    before = net[0].weight.detach().clone()
    with torch.no_grad():
        net[0].weight.add_(1)
    average.update()
    assert torch.allclose(average.nets[0].weight, before + 0.5)
