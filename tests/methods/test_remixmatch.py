"""ReMixMatch: its terms by hand, and the head that tells turns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fewlabels import InputError, load
from fewlabels.methods import ReMixMatch
from fewlabels.methods.mixing import mixup
from fewlabels.methods.remixmatch import TurnTeller, _Kept, turn
from fewlabels.methods.running import RunningMean
from fewlabels.nets import build_classifier
from fewlabels.training.batches import Batch

LABELED = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
TARGETS = torch.tensor([0, 1, 0])


class Views:
    def __init__(self, weak, *strong):
        self.given, self.left = weak, list(strong)

    def plain(self, samples):
        return samples

    def weak(self, samples):
        return self.given

    def strong(self, samples):
        return self.left.pop(0)


def test_the_loss_is_the_papers():
    weak = torch.tensor([[2.0, 0.0], [0.0, 0.5]])
    strong = [torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.5, 0.0], [0.0, 2.0]])]
    method = ReMixMatch(view="plain", unlabeled_weight=1.5, strong_weight=0.5, temperature=0.5, ramp_up=0.5)
    given = torch.tensor([2 / 3, 1 / 3])
    method._state = _Kept(np.random.default_rng(5), given, RunningMean(torch.tensor([0.6, 0.4]), 0.9))
    batch = Batch(LABELED, TARGETS, None, torch.zeros(2, 2), Views(weak, *strong), 0.25)
    losses = method.loss(torch.nn.Identity(), batch)
    found = weak.softmax(1)
    moved = found * given / torch.tensor([0.6, 0.4])
    moved = moved / moved.sum(1, keepdim=True)
    q = moved**2 / (moved**2).sum(1, keepdim=True)
    inputs = torch.cat([LABELED, *strong, weak])
    wanted = torch.cat([F.one_hot(TARGETS, 2).float(), q, q, q])
    mixed, targets = mixup(inputs, wanted, 0.75, np.random.default_rng(5))
    terms = -(targets * mixed.log_softmax(1)).sum(1)
    assert torch.isclose(losses["supervised"], terms[:3].mean())
    assert torch.isclose(losses["mixed pool"], 0.5 * 1.5 * terms[3:].mean())
    assert torch.isclose(losses["strong view"], -0.5 * 0.5 * (q * strong[0].log_softmax(1)).sum(1).mean())
    assert "rotation" not in losses
    assert torch.allclose(method._state.seen.value, 0.9 * torch.tensor([0.6, 0.4]) + 0.1 * found.mean(0))


def test_every_fourth_image_is_turned_alike():
    images = torch.rand(6, 3, 4, 4)
    turned, turns = turn(images)
    assert turns.tolist() == [0, 1, 2, 3, 0, 1]
    assert torch.equal(turned[0], images[0])
    # A quarter turn takes the upper right corner to the upper left.
    assert torch.equal(turned[1][:, 0, 0], images[1][:, 0, 3])
    assert torch.equal(turned[2][:, 0, 0], images[2][:, 3, 3])
    assert torch.equal(turned[5], torch.rot90(images[5], 1, (1, 2)))


def test_the_turn_head_learns_through_the_encoder():
    torch.manual_seed(0)
    nets = TurnTeller(build_classifier("fast", (16, 16, 3), classes=2))
    turned, turns = turn(torch.rand(8, 3, 16, 16))
    F.cross_entropy(nets.turn_logits(turned), turns).backward()
    assert nets.turns.weight.grad.abs().sum() > 0
    assert nets.classifier.encoder.stages[0].first.weight.grad.abs().sum() > 0
    assert nets.classifier.head.weight.grad is None
    assert torch.equal(nets.eval()(turned), nets.classifier(turned))


def test_a_fit_tells_turns_and_its_model_is_a_plain_classifier(color_images, tmp_path):
    X, y = color_images
    method = ReMixMatch(steps=4, random_state=0).fit(X, y, unlabeled=X)
    assert {"supervised", "mixed pool", "strong view", "rotation"} <= set(method.history_[-1])
    method.save(tmp_path / "model")
    assert np.array_equal(load(tmp_path / "model").predict_proba(X), method.predict_proba(X))
    without = ReMixMatch(steps=2, rotation_weight=0, strong_weight=0, random_state=0).fit(X, y, unlabeled=X)
    assert {"rotation", "strong view"}.isdisjoint(without.history_[-1])


@pytest.mark.parametrize(
    "settings", [{"temperature": 0}, {"strong_views": 0}, {"alpha": 0}, {"rotation_weight": -1}, {"ramp_up": 2}]
)
def test_settings_out_of_range_are_refused(settings, color_images):
    with pytest.raises(InputError, match=f"{next(iter(settings))}="):
        ReMixMatch(**settings).fit(*color_images)


def test_guesses_are_brought_to_the_shares_of_the_labels(color_images):
    X, y = color_images
    rows = np.concatenate([np.flatnonzero(y == 0)[:15], np.flatnonzero(y == 1)[:5]])
    seen = []

    class Watched(ReMixMatch):
        def loss(self, nets, batch):
            seen.append(self._state.given)
            return super().loss(nets, batch)

    Watched(steps=1, validation_fraction=0.0, random_state=0).fit(X[rows], y[rows], unlabeled=X)
    assert seen[0].tolist() == [0.75, 0.25]


def test_of_images_that_are_not_square_no_turns_are_told(color_images):
    X, y = color_images
    method = ReMixMatch(steps=2, batch_size=8, random_state=0).fit(X[:, :12], y, unlabeled=X[:, :12])
    assert "rotation" not in method.history_[-1]
    assert "strong view" in method.history_[-1]


def test_running_statistics_are_those_of_the_mixture_alone():
    torch.manual_seed(1)
    weak, one, two = (torch.rand(2, 3, 8, 8) for _ in range(3))
    labeled = torch.rand(3, 3, 8, 8)
    found = []
    for weight in (0.0, 0.5):
        torch.manual_seed(0)
        nets = TurnTeller(build_classifier("fast", (8, 8, 3), classes=2)).train()
        even = torch.tensor([0.5, 0.5])
        method = ReMixMatch(view="plain", strong_weight=weight, rotation_weight=weight)
        method._state = _Kept(np.random.default_rng(5), even, RunningMean(even, 0.9))
        batch = Batch(labeled, TARGETS, None, weak, Views(weak, one, two), 0.5)
        # Without the head that tells turns there is the mixture alone.
        method.loss(nets if weight else nets.classifier, batch)
        found.append([buffer for buffer in nets.buffers() if buffer.is_floating_point()])
    assert found[0]
    assert all(torch.equal(alone, beside) for alone, beside in zip(*found, strict=True))


def test_labels_are_smoothed_as_much_as_was_asked_for():
    weak = torch.tensor([[2.0, 0.0], [0.0, 0.5]])
    found = []
    for smoothing in (0.0, 0.2):
        method = ReMixMatch(view="plain", strong_views=1, label_smoothing=smoothing)
        even = torch.tensor([0.5, 0.5])
        method._state = _Kept(np.random.default_rng(5), even, RunningMean(even, 0.9))
        batch = Batch(LABELED, TARGETS, None, torch.zeros(2, 2), Views(weak, weak), 0.25)
        losses = method.loss(torch.nn.Identity(), batch)
        found.append(losses)
    assert not torch.isclose(found[0]["supervised"], found[1]["supervised"])
    assert torch.isclose(found[0]["mixed pool"], found[1]["mixed pool"])
