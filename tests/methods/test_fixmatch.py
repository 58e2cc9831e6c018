"""FixMatch: its loss by hand, what moves what, and the structure that labels alone do not show."""

import torch
from given_views import GivenViews

from fewlabels.methods import FixMatch
from fewlabels.methods.consistency import consistency, guess
from fewlabels.nets import build_classifier
from fewlabels.training.batches import Batch


def test_the_loss_is_the_papers():
    # Logits are the samples themselves: an identity net, so that every number can be followed.
    net = torch.nn.Identity()
    weak = torch.tensor([[4.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 3.0], [0.0, 5.0, 0.0]])
    strong = torch.tensor([[1.0, 0.0, 0.0], [0.0, 9.0, 0.0], [2.0, 0.0, 0.0], [0.0, 1.0, 1.0]], requires_grad=True)
    labeled = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    batch = Batch(labeled, torch.tensor([0, 1]), None, torch.zeros(4, 3), GivenViews(weak, strong), 0.0)
    losses = FixMatch(threshold=0.9, unlabeled_weight=2.0).loss(net, batch)

    def log_softmax(row, index):
        return row[index] - torch.log(torch.exp(row).sum())

    by_hand = -(log_softmax(labeled[0], 0) + log_softmax(labeled[1], 1)) / 2
    assert torch.isclose(losses["supervised"], by_hand)
    # Confidences: e^4/(e^4+2) = 0.965, 0.45, e^3/(e^3+2) = 0.909, e^5/(e^5+2) = 0.987: all but the second count.
    terms = log_softmax(strong[0], 0) + log_softmax(strong[2], 2) + log_softmax(strong[3], 1)
    assert torch.isclose(losses["consistency"], -2 * terms / 4)
    losses["consistency"].backward()
    assert not strong.grad[1].any()
    assert strong.grad[[0, 2, 3]].abs().sum(1).min() > 0


def test_a_guess_has_no_gradient_and_leaves_the_statistics():
    torch.manual_seed(0)
    net = build_classifier("fast", (8, 8, 3), classes=3).train()
    before = [buffer.clone() for buffer in net.buffers()]
    confidences, classes = guess(net, torch.rand(6, 3, 8, 8))
    assert not confidences.requires_grad
    assert classes.shape == (6,)
    for old, new in zip(before, net.buffers(), strict=True):
        if old.is_floating_point():
            assert torch.equal(old, new)


def test_unsure_samples_count_in_the_mean():
    logits, classes = torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64)
    one, all_of_them = torch.tensor([1.0, 0, 0, 0]), torch.ones(4)
    assert torch.isclose(4 * consistency(logits, classes, one), consistency(logits, classes, all_of_them))
