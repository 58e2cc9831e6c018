"""UDA: its loss by hand, and the structure that labels alone do not show."""

import numpy as np
import pytest
import torch
from given_views import GivenViews

from fewlabels import InputError
from fewlabels.methods import UDA
from fewlabels.methods.consistency import sharpened
from fewlabels.training.batches import Batch


def test_the_loss_is_the_papers():
    # Logits are the samples themselves: an identity net, so that every number can be followed.
    weak = torch.tensor([[2.0, 0.0], [0.2, 0.0]], requires_grad=True)
    strong = torch.tensor([[1.0, 0.0], [0.0, 9.0]], requires_grad=True)
    labeled = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    batch = Batch(labeled, torch.tensor([0, 1, 1]), None, torch.zeros(2, 2), GivenViews(weak, strong), 0.0)
    method = UDA(threshold=0.8, temperature=0.5, unlabeled_weight=3.0)
    losses = method.loss(torch.nn.Identity(), batch)
    by_hand = -(np.log(np.exp(2) / (np.exp(2) + 1)) + np.log(1 / 2) + np.log(np.e / (np.e + 1))) / 3
    assert losses["supervised"].item() == pytest.approx(by_hand)
    # Of the weak views, 0.88 and 0.55 are sure: only the first counts. Sharpened with T = 1/2, odds are squared.
    target = np.exp(4) / (np.exp(4) + 1)
    first = -(target * np.log(np.e / (np.e + 1)) + (1 - target) * np.log(1 / (np.e + 1)))
    assert losses["consistency"].item() == pytest.approx(3 * first / 2)
    losses["consistency"].backward()
    assert weak.grad is None
    assert not strong.grad[1].any()
    assert strong.grad[0].abs().min() > 0


def test_a_temperature_of_one_changes_nothing():
    given = torch.tensor([[0.7, 0.2, 0.1]])
    assert torch.allclose(sharpened(given, 1.0), given)
    assert sharpened(given, 0.1)[0, 0] > 0.999


def test_a_low_temperature_makes_no_numbers_that_are_none():
    given = torch.full((1, 10), 0.1)
    assert torch.allclose(sharpened(given, 0.02), given)
    assert sharpened(torch.tensor([[0.3, 0.7, 0.0]]), 0.001).tolist() == [[0.0, 1.0, 0.0]]


def test_where_all_guesses_are_to_count_nobody_is_warned_that_they_do():
    weak = torch.tensor([[2.0, 0.0], [0.2, 0.0]])
    for threshold, said in ((0.8, 0.5), (0.0, None)):
        batch = Batch(weak, torch.tensor([0, 1]), None, torch.zeros(2, 2), GivenViews(weak, weak), 0.0)
        UDA(threshold=threshold).loss(torch.nn.Identity(), batch)
        assert batch.admitted == said


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_temperature_out_of_range_is_refused(temperature, color_images):
    with pytest.raises(InputError, match="temperature="):
        UDA(temperature=temperature).fit(*color_images)
