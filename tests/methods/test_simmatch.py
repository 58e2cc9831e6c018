"""SimMatch: guesses and similarities by hand, and the bank of labeled samples."""

import pytest
import torch
import torch.nn.functional as F
from given_views import GivenViews

from fewlabels import InputError
from fewlabels.methods import SimMatch
from fewlabels.methods.running import RunningMean
from fewlabels.methods.simmatch import Embedder, LabeledBank, _Kept
from fewlabels.nets import build_classifier
from fewlabels.training.batches import Batch


def bank_of(embeddings, targets, decay=0.5):
    bank = LabeledBank(torch.tensor(targets), 2, len(embeddings[0]), decay, torch.Generator().manual_seed(0))
    bank.embeddings = torch.tensor(embeddings)
    return bank


class Plain(Embedder):
    """Logits and embeddings are the samples themselves, so that every number can be followed."""

    def __init__(self):
        torch.nn.Module.__init__(self)

    def both(self, inputs):
        return inputs, F.normalize(inputs, dim=1)


def test_a_bank_moves_the_embeddings_it_is_given_and_keeps_their_length():
    bank = bank_of([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [0, 1, 1])
    bank.update(torch.tensor([2]), torch.tensor([[0.0, 1.0]]))
    assert torch.allclose(bank.embeddings[2], torch.tensor([0.5, 0.5]).sqrt())
    assert bank.embeddings[:2].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_the_loss_is_the_papers():
    method = SimMatch(threshold=0.7, similarity_weight=2.0, temperature=0.5, smoothing=0.8, unlabeled_weight=3.0)
    bank = bank_of([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], [0, 1, 1], decay=0.0)
    method._state = _Kept(bank, RunningMean(torch.tensor([0.5, 0.5]), 1.0), torch.tensor([0.5, 0.5]))
    weak = torch.tensor([[2.0, 1.0], [0.3, 0.1]], requires_grad=True)
    strong = torch.tensor([[1.0, 2.0], [3.0, 1.0]], requires_grad=True)
    labeled, targets = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.5, 0.0]]), torch.tensor([0, 1, 0])
    batch = Batch(labeled, targets, None, torch.zeros(2, 2), GivenViews(weak, strong), 0.0, torch.tensor([0, 1, 2]))
    losses = method.loss(Plain(), batch)
    assert torch.isclose(losses["supervised"], F.cross_entropy(labeled, targets))
    old = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    p = weak.detach().softmax(1)
    q = (F.normalize(weak.detach(), dim=1) @ old.T / 0.5).softmax(1)
    unfolded = torch.stack([p[:, 0], p[:, 1], p[:, 1]], 1)
    corrected = q * unfolded / (q * unfolded).sum(1, keepdim=True)
    classes = 0.8 * p + 0.2 * torch.stack([q[:, 0], q[:, 1] + q[:, 2]], 1)
    # Confidences are 0.73 and 0.55: only the first counts.
    assert torch.isclose(losses["consistency"], -3 * (classes[0] * strong[0].log_softmax(0)).sum() / 2)
    strong_q = (F.normalize(strong, dim=1) @ old.T / 0.5).log_softmax(1)
    assert torch.isclose(losses["similarity"], -2 * (corrected * strong_q).sum(1).mean())
    (losses["consistency"] + losses["similarity"]).backward()
    assert weak.grad is None
    assert strong.grad.abs().min() > 0
    # With a decay of zero the bank holds the new embeddings.
    assert torch.allclose(bank.embeddings, F.normalize(labeled, dim=1))


def test_the_projection_learns_and_the_classifier_too():
    torch.manual_seed(0)
    nets = Embedder(build_classifier("fast", (16, 16, 3), classes=2), size=8)
    _, embeddings = nets.both(torch.rand(4, 3, 16, 16))
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(4))
    embeddings[0, 0].backward()
    assert nets.projection[0].weight.grad.abs().sum() > 0
    assert nets.classifier.encoder.stages[0].first.weight.grad.abs().sum() > 0


def test_a_fit_has_all_terms(color_images):
    X, y = color_images
    method = SimMatch(steps=4, threshold=0.0, random_state=0).fit(X, y, unlabeled=X)
    assert all(method.history_[-1][term] > 0 for term in ("supervised", "consistency", "similarity"))


@pytest.mark.parametrize(
    "settings", [{"temperature": 0}, {"smoothing": 2}, {"bank_decay": 1}, {"embedding_size": 1}, {"threshold": -0.1}]
)
def test_settings_out_of_range_are_refused(settings, color_images):
    with pytest.raises(InputError, match=f"{next(iter(settings))}="):
        SimMatch(**settings).fit(*color_images)


def test_guesses_are_aligned_to_the_classes_that_the_pool_has():
    method = SimMatch(smoothing=1.0, temperature=0.5)
    bank = bank_of([[1.0, 0.0], [0.0, 1.0]], [0, 1])
    method._state = _Kept(bank, RunningMean(torch.tensor([0.8, 0.2]), 1.0), torch.tensor([0.3, 0.7]))
    logits = torch.tensor([[2.0, 0.0], [0.5, 0.0]])
    classes, _, confidences = method._guess(logits, F.normalize(logits, dim=1))
    moved = logits.softmax(1) * torch.tensor([0.3 / 0.8, 0.7 / 0.2])
    moved = moved / moved.sum(1, keepdim=True)
    assert torch.allclose(classes, moved)
    assert torch.allclose(confidences, moved.amax(1))


def test_labels_are_smoothed_as_much_as_was_asked_for():
    labeled, targets, pool = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]), torch.eye(2)
    method = SimMatch(label_smoothing=0.2)
    even = torch.tensor([0.5, 0.5])
    method._state = _Kept(bank_of([[1.0, 0.0], [0.0, 1.0]], [0, 1]), RunningMean(even, 0.9), even)
    batch = Batch(labeled, targets, None, pool, GivenViews(labeled, pool), 0.0, torch.tensor([0, 1]))
    found = method.loss(Plain(), batch)["supervised"]
    # Nine tenths of a target are the class's, one tenth the other's.
    smoothed = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    assert torch.isclose(found, -(smoothed * labeled.log_softmax(1)).sum(1).mean())


def test_the_pool_leaves_running_statistics_to_the_labeled_samples():
    torch.manual_seed(1)
    labeled, targets = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 0, 1])
    found = []
    for bright in (0.0, 0.5):
        torch.manual_seed(0)
        nets = Embedder(build_classifier("fast", (8, 8, 3), classes=2), size=8).train()
        bank = LabeledBank(targets, 2, 8, 0.5, torch.Generator().manual_seed(0))
        even = torch.tensor([0.5, 0.5])
        method = SimMatch()
        method._state = _Kept(bank, RunningMean(even, 0.9), even)
        pool = torch.rand(6, 3, 8, 8) / 2 + bright
        batch = Batch(labeled, targets, None, pool, GivenViews(pool, pool), 0.0, torch.arange(4))
        method.loss(nets, batch)
        found.append([buffer for buffer in nets.buffers() if buffer.is_floating_point()])
    assert found[0]
    assert all(torch.equal(dark, light) for dark, light in zip(*found, strict=True))
