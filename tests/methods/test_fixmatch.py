"""FixMatch: its loss by hand, what moves what, and the structure that labels alone do not show."""

import numpy as np
import pytest
import torch

from fewlabels import InputError, Supervised
from fewlabels.methods import FixMatch
from fewlabels.methods.consistency import consistency, guess
from fewlabels.nets import build_classifier
from fewlabels.training.batches import Batch


class Fixed:
    """Views that are given, so that a loss can be computed by hand."""

    def __init__(self, weak, strong):
        self.given = {"weak": weak, "strong": strong}

    def weak(self, samples):
        return self.given["weak"] if len(samples) == len(self.given["weak"]) else samples

    def strong(self, samples):
        return self.given["strong"]


def test_the_loss_is_the_papers(monkeypatch):
    # Logits are the samples themselves: an identity net, so that every number can be followed.
    net = torch.nn.Identity()
    weak = torch.tensor([[4.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 3.0], [0.0, 5.0, 0.0]])
    strong = torch.tensor([[1.0, 0.0, 0.0], [0.0, 9.0, 0.0], [2.0, 0.0, 0.0], [0.0, 1.0, 1.0]], requires_grad=True)
    labeled = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    batch = Batch(labeled, torch.tensor([0, 1]), None, torch.zeros(4, 3), Fixed(weak, strong), 0.0)
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


def test_the_warm_start_learns_from_labels_alone(color_images):
    X, y = color_images
    seen = []
    method = FixMatch(steps=10, warm_start=0.3, threshold=0.0, random_state=0)
    method.fit(X, y, unlabeled=X, observer=seen.append)
    assert method.stage_steps_ == {"labeled images alone": 3, "classifier": 7}
    first = [event for event in seen if event["stage"] == "labeled images alone" and event["step"]]
    assert all("consistency" not in event for event in first)
    assert seen[-1]["consistency"] > 0
    assert method.gradient_images_ == 10 * 128 + 7 * 7 * 128


def test_an_averaged_teacher_guesses_and_is_what_remains(color_images, monkeypatch):
    from fewlabels.methods import fixmatch

    X, y = color_images
    asked = []
    original = fixmatch.guess
    monkeypatch.setattr(fixmatch, "guess", lambda net, weak: asked.append(net) or original(net, weak))
    method = FixMatch(steps=6, teacher_decay=0.9, warm_start=0.5, threshold=0.0, random_state=0)
    method.fit(X, y, unlabeled=X)
    assert len(asked) == 3
    assert all(net is asked[0] and not net.training for net in asked)
    assert all(not parameter.requires_grad for parameter in asked[0].parameters())
    for mine, teachers in zip(method.network_.parameters(), asked[0].parameters(), strict=True):
        assert torch.equal(mine, teachers)
    alone = FixMatch(steps=6, warm_start=0.5, threshold=0.0, random_state=0).fit(X, y, unlabeled=X)
    pairs = zip(method.network_.parameters(), alone.network_.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    "settings",
    [{"threshold": 1.0}, {"warm_start": 1.0}, {"teacher_decay": 1.0}, {"unlabeled_ratio": 0}, {"unlabeled_weight": -1}],
)
def test_settings_out_of_range_are_refused(settings, color_images):
    with pytest.raises(InputError, match=f"{next(iter(settings))}="):
        FixMatch(**settings).fit(*color_images)


def test_it_finds_clusters_that_three_labels_a_class_do_not_show():
    # Two interleaved half moons: the nearest labels mislead, the pool shows where the gap is.
    from sklearn.datasets import make_moons

    X, truth = make_moons(600, noise=0.06, random_state=0)
    X = X.astype(np.float32)
    y = np.full(600, -1)
    for label in (0, 1):
        y[np.flatnonzero(truth == label)[:3]] = label
    settings = {"steps": 400, "random_state": 0, "validation_fraction": 0.0, "noise": 0.3}
    alone = Supervised(**settings).fit(X, y).score(X, truth)
    pool = FixMatch(**settings, preset="short", threshold=0.7, unlabeled_ratio=2.0).fit(X, y).score(X, truth)
    assert pool > alone + 0.03
