import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from fewlabels.storage.errors import InputError
from fewlabels.training.muon import Muon
from fewlabels.training.optimizers import SGD, AdamW
from fewlabels.training.snapshot import Snapshot, capture, restore


@dataclass
class Kept:
    mean: torch.Tensor
    draws: np.random.Generator
    counts: dict
    place: tuple = ()


def new_kept():
    return Kept(torch.zeros(3), np.random.default_rng(0), {})


def through_json(snapshot):
    return Snapshot(json.loads(snapshot.text()), snapshot.tensors)


def test_everything_that_moves_comes_back_in_an_object_made_anew():
    kept = new_kept()
    kept.mean += 0.1
    kept.draws.integers(5, size=7)
    kept.counts |= {"a": 0.1 + 0.2, "b": [1, None, float("nan")]}
    kept.place = (np.arange(3), np.float64(0.3), True)
    again = new_kept()
    restore(again, through_json(capture(kept)))
    assert torch.equal(again.mean, kept.mean)
    assert again.draws.integers(1 << 40) == kept.draws.integers(1 << 40)
    assert again.counts["a"] == 0.1 + 0.2
    assert again.counts["b"][:2] == [1, None]
    assert np.isnan(again.counts["b"][2])
    assert again.place[0].tolist() == [0, 1, 2]
    assert again.place[1:] == (0.3, True)


@pytest.mark.parametrize("kind", [Muon, AdamW, lambda p, lr: SGD(p, lr, momentum=0.9)])
def test_nets_and_optimizers_go_on_bit_for_bit(kind):
    def parts():
        torch.manual_seed(0)
        net = nn.Conv2d(3, 4, 3, bias=False).to(memory_format=torch.channels_last)
        return net, kind(net.parameters(), lr=0.1)

    def steps(net, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            inputs = torch.linspace(0, 1, 192).view(1, 3, 8, 8).contiguous(memory_format=torch.channels_last)
            net(inputs).square().mean().backward()
            optimizer.step()

    whole = parts()
    steps(*whole, 6)
    first, second = parts(), parts()
    steps(*first, 3)
    restore(list(second), through_json(capture(list(first))))
    steps(*second, 3)
    assert torch.equal(whole[0].weight, second[0].weight)


def test_what_an_optimizer_had_not_before_its_first_step_is_taken_away():
    net = nn.Linear(2, 1)
    optimizer = SGD(net.parameters(), 0.1, momentum=0.9)
    before = capture([net, optimizer])
    net(torch.full((1, 2), torch.nan)).sum().backward()
    optimizer.step()
    restore([net, optimizer], before)
    assert not optimizer.state


def test_a_copy_does_not_change_with_what_was_copied():
    net = nn.Linear(2, 2)
    before, weight = capture(net), net.weight.detach().clone()
    with torch.no_grad():
        net.weight.add_(1)
    restore(net, before)
    assert torch.equal(net.weight, weight)


def test_another_net_is_refused():
    with pytest.raises(InputError, match="another net"):
        restore(nn.Linear(2, 3), capture(nn.Linear(2, 2)))


def test_what_cannot_be_kept_is_named():
    with pytest.raises(TypeError, match=r"function \(/loss\)"):
        capture({"loss": lambda: None})
