"""The losses of the methods that guess in every step, by hand, and what they keep from step to step."""

import math
import sys

import numpy as np
import pytest
import torch
from given_views import GivenViews

from fewlabels import InputError, make_method
from fewlabels.methods import (
    UDA,
    VAT,
    FlexMatch,
    FreeMatch,
    MeanTeacher,
    MixMatch,
    PiModel,
    PseudoLabel,
    ReMixMatch,
    SoftMatch,
)
from fewlabels.methods.flexmatch import ClassCounts
from fewlabels.methods.freematch import AdaptiveThreshold
from fewlabels.methods.mixing import mixup
from fewlabels.methods.ramps import gaussian_ramp, linear_ramp
from fewlabels.methods.running import RunningMean, aligned
from fewlabels.methods.softmatch import ConfidenceCurve
from fewlabels.methods.vat import divergence
from fewlabels.nets import build_classifier
from fewlabels.training.batches import Batch

CPU = torch.device("cpu")
LABELED = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
TARGETS = torch.tensor([0, 1])


def batch_of(views, pool, progress=0.0, rows=None):
    return Batch(LABELED, TARGETS, None, torch.zeros(pool, 2), views, progress, unlabeled_rows=rows)


def softmax(*logits):
    powers = [math.exp(value) for value in logits]
    return [value / sum(powers) for value in powers]


class Jittered:
    """Gives the next of some views each time it is asked for one."""

    def __init__(self, *views):
        self.left = list(views)

    def jittered(self, samples):
        return self.left.pop(0)

    def weak(self, samples):
        return samples


def test_ramps_grow_to_one_and_stay():
    assert [linear_ramp(p, 0.4) for p in (0.0, 0.2, 0.4, 1.0)] == [0.0, 0.5, 1.0, 1.0]
    assert gaussian_ramp(0.2, 0.4) == pytest.approx(math.exp(-5 * 0.25))
    assert gaussian_ramp(0.9, 0.4) == 1.0
    assert linear_ramp(0.0, 0.0) == gaussian_ramp(0.0, 0.0) == 1.0


def test_pseudo_label_learns_sure_guesses_from_the_same_view():
    weak = torch.tensor([[3.0, 0.0], [0.5, 0.0], [0.0, 4.0]], requires_grad=True)
    method = PseudoLabel(threshold=0.9, unlabeled_weight=2.0, ramp_up=0.4)
    views = GivenViews(weak, None)
    batch = batch_of(views, 3, progress=0.1)
    losses = method.loss(torch.nn.Identity(), batch)
    # 0.953 and 0.982 are above the threshold, 0.62 is not; a quarter of the way up the ramp.
    assert batch.admitted.item() == pytest.approx(2 / 3)
    terms = -math.log(softmax(3, 0)[0]) - math.log(softmax(0, 4)[1])
    assert losses["pseudo-label"].item() == pytest.approx(2 * 0.25 * terms / 3, rel=1e-5)
    losses["pseudo-label"].backward()
    assert not weak.grad[1].any()
    assert weak.grad[[0, 2]].abs().min() > 0


def test_pseudo_label_takes_the_guesses_of_its_teacher():
    weak = torch.tensor([[3.0, 0.0], [0.0, 3.0]], requires_grad=True)
    method = PseudoLabel(threshold=0.9, ramp_up=0.0)
    teacher = torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        teacher.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    losses = method.pool_loss(torch.nn.Identity(), teacher, batch_of(GivenViews(weak, None), 2))
    # The teacher takes each for the other class.
    assert losses["pseudo-label"].item() == pytest.approx(-math.log(softmax(3, 0)[1]), rel=1e-5)
    losses["pseudo-label"].backward()
    assert teacher.weight.grad is None


def test_the_pi_models_loss_is_the_mean_squared_difference_of_two_views():
    first = torch.tensor([[1.0, 0.0], [0.0, 2.0]], requires_grad=True)
    second = torch.tensor([[0.0, 0.0], [0.0, 1.0]], requires_grad=True)
    method = PiModel(unlabeled_weight=3.0, ramp_up=0.5)
    losses = method.loss(torch.nn.Identity(), batch_of(Jittered(first, second), 2, progress=0.25))
    differences = [softmax(1, 0)[0] - 0.5, softmax(0, 2)[0] - softmax(0, 1)[0]]
    by_hand = sum(2 * d * d for d in differences) / 4
    assert losses["consistency"].item() == pytest.approx(3 * math.exp(-5 * 0.25) * by_hand, rel=1e-5)
    losses["consistency"].backward()
    assert first.grad is None
    assert second.grad.abs().min() > 0


def test_the_mean_teachers_student_gets_the_gradient_and_the_teacher_none(color_images):
    X, y = color_images
    seen = {}

    class Watched(MeanTeacher):
        def pool_loss(self, nets, teacher, batch):
            losses = super().pool_loss(nets, teacher, batch)
            student = [p for p in nets.parameters() if p.requires_grad]
            seen["student"] = torch.autograd.grad(losses["consistency"], student, retain_graph=True, allow_unused=True)
            seen["teacher"] = [p.requires_grad for p in teacher.parameters()]
            seen["same"] = teacher is nets
            return losses

    Watched(steps=4, ramp_up=0.0, random_state=0, precision="float32").fit(X, y, unlabeled=X)
    assert not seen["same"]
    assert not any(seen["teacher"])
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in seen["student"])


def test_a_mean_teacher_without_a_teacher_is_refused(color_images):
    with pytest.raises(InputError, match="teacher_decay=0"):
        MeanTeacher(teacher_decay=0).fit(*color_images)


class UnchangedViews:
    """Leaves samples as they are, and draws directions."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(1)

    def weak(self, samples):
        return samples


def test_vat_moves_in_the_direction_that_matters():
    torch.manual_seed(0)
    # The second input says nothing of the class: all of the step must go along the first.
    net = torch.nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    pool = torch.tensor([[0.3, 5.0], [-0.2, 1.0]])
    batch = Batch(LABELED, TARGETS, None, pool, UnchangedViews(), 0.0)
    losses = VAT(epsilon=0.1, entropy_weight=0.5, unlabeled_weight=2.0).loss(net, batch)
    divergences, entropies = [], []
    for x in (0.3, -0.2):
        p = softmax(x, -x)
        # A root mean square of 0.1 over two inputs, all of it in one: 0.1 * sqrt(2), towards either side.
        each = []
        for side in (1, -1):
            z = x + side * 0.1 * math.sqrt(2)
            q = softmax(z, -z)
            each.append(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)))
        divergences.append(each)
        entropies.append(-sum(a * math.log(a) for a in p))
    possible = [a + b for a in divergences[0] for b in divergences[1]]
    assert any(losses["divergence"].item() == pytest.approx(2 * value / 2, rel=1e-3) for value in possible)
    assert losses["entropy"].item() == pytest.approx(0.5 * sum(entropies) / 2, rel=1e-5)


def test_vat_looks_for_the_worst_direction_in_standard_deviations():
    torch.manual_seed(0)
    X = torch.randn(24, 3)
    targets = torch.arange(24) % 2
    units = torch.tensor([2.0**-8, 1.0, 2.0**8])
    losses = []
    for unit in (torch.ones(3), units):
        torch.manual_seed(1)
        net = build_classifier("linear", (3,), 2)
        torch.nn.init.normal_(net.head.weight)
        net.start(X * unit)
        net.eval()
        batch = Batch(X * unit, targets, None, X * unit, UnchangedViews(), 0.0)
        losses.append(VAT(epsilon=0.5).pool_loss(net, net, batch)["divergence"].item())
    assert losses[0] > 0.01
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_divergence_is_zero_for_equals_and_has_no_gradient_into_its_target():
    logits = torch.tensor([[1.0, 2.0]], requires_grad=True)
    assert divergence(logits.detach().log_softmax(1), logits).item() == pytest.approx(0, abs=1e-7)


def test_mixup_keeps_the_larger_part_of_each_sample_and_of_its_target():
    inputs = torch.eye(6)
    mixed, targets = mixup(inputs, inputs, 0.75, np.random.default_rng(0))
    assert torch.allclose(mixed, targets)
    assert mixed.diagonal().min() >= 0.5
    assert torch.allclose(mixed.sum(1), torch.ones(6))
    draws = np.random.default_rng(0)
    share = draws.beta(0.75, 0.75, 6)
    partner = draws.permutation(6)
    row = next(i for i in range(6) if partner[i] != i)
    assert mixed[row, row].item() == pytest.approx(max(share[row], 1 - share[row]), rel=1e-5)
    assert mixed[row, partner[row]].item() == pytest.approx(min(share[row], 1 - share[row]), rel=1e-4)


def test_mixmatchs_loss_is_the_papers():
    views = [torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])]
    method = MixMatch(unlabeled_weight=4.0, temperature=0.5, alpha=0.5, ramp_up=0.5)
    method._state = np.random.default_rng(3)
    losses = method.loss(torch.nn.Identity(), batch_of(Jittered(*views), 1, progress=0.25))
    mean = [(a + b) / 2 for a, b in zip(softmax(2, 0), softmax(0, 0), strict=True)]
    guess = [value**2 / sum(m**2 for m in mean) for value in mean]
    inputs = torch.cat([LABELED, *views])
    given = torch.tensor([[1.0, 0.0], [0.0, 1.0], guess, guess])
    mixed, wanted = mixup(inputs, given, 0.5, np.random.default_rng(3))
    logs = mixed.log_softmax(1)
    assert torch.isclose(losses["supervised"], -(wanted[:2] * logs[:2]).sum(1).mean())
    assert torch.isclose(losses["mixed pool"], 4 * 0.5 * (wanted[2:] - mixed[2:].softmax(1)).square().mean())


def test_flexmatch_counts_the_last_sure_guess_of_each_sample():
    counts = ClassCounts(pool=5, classes=2, device=CPU)
    # Of a small pool a batch may hold a sample twice: the unsure guess takes nothing back.
    counts.update(torch.tensor([1, 1]), torch.tensor([0, 1]), torch.tensor([True, False]))
    assert counts.counts[:3].tolist() == [1, 0, 4]
    counts = ClassCounts(pool=5, classes=2, device=CPU)
    assert counts.status.tolist() == [0.0, 0.0]
    counts.update(torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]), torch.tensor([True, True, False]))
    # Two of class 0; three still unsure, which are more than any class has.
    assert counts.status.tolist() == [pytest.approx(2 / 3), 0.0]
    counts.update(torch.tensor([1, 3, 4]), torch.tensor([1, 0, 0]), torch.tensor([True, True, True]))
    assert counts.counts[:3].tolist() == [3.0, 1.0, 1.0]
    assert counts.status.tolist() == [1.0, pytest.approx(1 / 3)]
    counts.update(torch.tensor([2, 2]), torch.tensor([1, 1]), torch.tensor([True, True]))
    assert counts.counts[:3].tolist() == [3.0, 2.0, 0.0]


def test_flexmatchs_thresholds_are_the_papers():
    method = FlexMatch(threshold=0.9)
    method._state = ClassCounts(pool=6, classes=2, device=CPU)
    method._state.update(torch.arange(6), torch.tensor([0, 0, 0, 0, 1, 1]), torch.ones(6, dtype=torch.bool))
    # beta = 1 and 1/2: thresholds 0.9 and 0.9 * (1/2) / (3/2) = 0.3.
    found = torch.tensor([[0.85, 0.15], [0.95, 0.05], [0.45, 0.55]])
    batch = batch_of(None, 3, rows=torch.tensor([0, 1, 2]))
    assert method.weights(found, batch).tolist() == [0.0, 1.0, 1.0]
    # Only the second was surely (above 0.9) guessed, as before.
    assert method._state.counts[:3].tolist() == [4.0, 2.0, 0.0]


def test_freematchs_thresholds_follow_confidence_and_class_means():
    state = AdaptiveThreshold(2, decay=0.5, device=CPU)
    assert state.thresholds.tolist() == [0.5, 0.5]
    state.update(torch.tensor([[0.9, 0.1], [0.7, 0.3]]))
    # Confidence (0.5 + 0.8) / 2; classes (0.5 + 0.8) / 2 and (0.5 + 0.2) / 2.
    assert state.thresholds.tolist() == [pytest.approx(0.65), pytest.approx(0.65 * 0.35 / 0.65)]
    assert state.guessed.value.tolist() == [0.75, 0.25]
    state.update(torch.tensor([[0.2, 0.8], [0.4, 0.6]]))
    assert state.thresholds.tolist() == [pytest.approx(0.675 * 0.475 / 0.525), pytest.approx(0.675)]


def test_freematchs_loss_is_the_papers():
    weak = torch.tensor([[3.0, 0.0], [0.0, 0.1], [0.0, 2.0]])
    strong = torch.tensor([[1.0, 0.0], [0.5, 0.0], [0.0, 1.5]], requires_grad=True)
    method = FreeMatch(mean_decay=0.5, fairness_weight=0.1)
    method._state = AdaptiveThreshold(2, 0.5, CPU)
    losses = method.loss(torch.nn.Identity(), batch_of(GivenViews(weak, strong), 3))
    found = [softmax(*row) for row in weak.tolist()]
    confidence = (0.5 + sum(map(max, found)) / 3) / 2
    means = [(0.5 + sum(row[c] for row in found) / 3) / 2 for c in (0, 1)]
    thresholds = [confidence * mean / max(means) for mean in means]
    counted = [row for row in range(3) if max(found[row]) >= thresholds[found[row].index(max(found[row]))]]
    assert counted == [0, 2]
    strong_found = [softmax(*row) for row in strong.tolist()]
    entropy = -sum(math.log(max(strong_found[row])) for row in counted) / 3
    assert losses["consistency"].item() == pytest.approx(entropy, rel=1e-5)
    guessed = [(0.5 + 1 / 3) / 2, (0.5 + 2 / 3) / 2]
    expected = [mean / share for mean, share in zip(means, guessed, strict=True)]
    seen = [sum(strong_found[row][c] for row in counted) / 2 / 0.5 for c in (0, 1)]
    fairness = sum(e / sum(expected) * math.log(s / sum(seen)) for e, s in zip(expected, seen, strict=True))
    assert losses["fairness"].item() == pytest.approx(0.1 * fairness, rel=1e-4)
    losses["fairness"].backward()
    assert not strong.grad[1].any()
    assert strong.grad[[0, 2]].abs().min() > 0


def test_softmatchs_weights_fall_below_the_mean_confidence():
    state = ConfidenceCurve(2, decay=0.5, device=CPU)
    confidences = torch.tensor([0.9, 0.7])
    state.update(confidences)
    mean, variance = (0.5 + 0.8) / 2, (1 + 0.02) / 2
    assert state.mean.value.item() == pytest.approx(mean)
    assert state.variance.value.item() == pytest.approx(variance)
    weights = state.weights(torch.tensor([0.9, 0.55]), width=2.0)
    assert weights[0] == 1
    assert weights[1].item() == pytest.approx(math.exp(-((0.55 - mean) ** 2) / (2 * variance / 4)), rel=1e-5)


# Of the second guess, with 0.2, alignment would make another class: it decides on the weights alone.
@pytest.mark.parametrize("unsure", [1.0, 0.2])
def test_softmatchs_loss_is_weighted_by_aligned_confidence(unsure):
    weak = torch.tensor([[3.0, 0.0], [unsure, 0.0]])
    strong = torch.tensor([[1.0, 0.0], [0.0, 0.5]], requires_grad=True)
    method = SoftMatch(mean_decay=0.5, unlabeled_weight=2.0)
    method._state = ConfidenceCurve(2, 0.5, CPU)
    losses = method.loss(torch.nn.Identity(), batch_of(GivenViews(weak, strong), 2))
    found = [softmax(3, 0), softmax(unsure, 0)]
    seen = [(0.5 + (found[0][c] + found[1][c]) / 2) / 2 for c in (0, 1)]
    moved = [[row[c] * 0.5 / seen[c] for c in (0, 1)] for row in found]
    confidences = [max(row) / sum(row) for row in moved]
    mean = (0.5 + sum(confidences) / 2) / 2
    variance = (1 + (confidences[0] - confidences[1]) ** 2 / 2) / 2
    weights = [math.exp(-(min(c - mean, 0) ** 2) / (2 * variance / 4)) for c in confidences]
    terms = [-math.log(softmax(1, 0)[0]), -math.log(softmax(0, 0.5)[0])]
    by_hand = 2 * sum(w * t for w, t in zip(weights, terms, strict=True)) / 2
    assert losses["consistency"].item() == pytest.approx(by_hand, rel=1e-4)


def test_alignment_turns_what_is_seen_into_the_target():
    given = torch.tensor([[0.6, 0.4], [0.8, 0.2]])
    assert torch.allclose(aligned(given, torch.tensor([0.7, 0.3]), torch.tensor([0.7, 0.3])), given)
    moved = aligned(given, torch.tensor([0.5, 0.5]), given.mean(0))
    assert moved[0, 0].item() == pytest.approx((0.6 / 0.7) / (0.6 / 0.7 + 0.4 / 0.3))
    assert torch.allclose(moved.sum(1), torch.ones(2))


def test_a_running_mean_keeps_its_start():
    mean = RunningMean(torch.tensor(1.0), decay=0.9)
    assert mean.update(torch.tensor(2.0)).item() == pytest.approx(1.1)
    assert mean.update(torch.tensor(2.0)).item() == pytest.approx(1.19)


ONLINE = ["pseudo-label", "pi-model", "mean-teacher", "vat", "mix-match", "uda", "fix-match", "flex-match"]
ONLINE += ["free-match", "soft-match", "re-mix-match", "sim-match"]


@pytest.mark.parametrize("name", ONLINE)
def test_a_step_moves_every_parameter_and_each_loss_reaches_the_student(name, color_images):
    X, y = color_images
    own = {"threshold": 0.0} if name in ("pseudo-label", "uda", "fix-match", "flex-match", "sim-match") else {}
    own |= {"fairness_weight": 0.1} if name == "free-match" else {}
    own |= {"ramp_up": 0.0} if name in ("pseudo-label", "pi-model", "mean-teacher", "mix-match") else {}
    reached = {}
    method_class = type(make_method(name))
    started, trained = {}, []

    class Watched(method_class):
        def loss(self, nets, batch):
            if not started:
                trained.append(nets)
                started.update({key: value.clone() for key, value in nets.named_parameters() if value.requires_grad})
            losses = super().loss(nets, batch)
            parameters = [p for p in nets.parameters() if p.requires_grad]
            for key, value in losses.items():
                gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
                reached[key] = sum(float(g.abs().sum()) for g in gradients if g is not None)
            return losses

    method = Watched(steps=1, unlabeled_ratio=1.0, random_state=0, precision="float32", view="medium", **own)
    method.fit(X, y, unlabeled=X)
    assert len(reached) > 1
    assert all(size > 0 for size in reached.values()), reached
    after = dict(trained[0].named_parameters())
    if method.teacher_decay == 0:
        unmoved = [key for key, value in started.items() if torch.equal(value, after[key])]
        assert not unmoved
    assert method._state is None


# The mixing methods' one pass takes labeled and pool samples, and its statistics are those of the mixture; SimMatch
# needs its own nets.
@pytest.mark.parametrize("name", [name for name in ONLINE if name not in ("mix-match", "re-mix-match", "sim-match")])
def test_the_pool_leaves_running_statistics_to_the_labeled_samples(name):
    torch.manual_seed(0)
    net = build_classifier("fast", (8, 8, 3), classes=3).train()
    before = [buffer.clone() for buffer in net.buffers()]
    pool = torch.rand(6, 3, 8, 8)

    class Views:
        generator = torch.Generator().manual_seed(0)
        weak = strong = jittered = staticmethod(lambda samples: samples)

    method = make_method(name)
    method._state = {
        "flex-match": ClassCounts(6, 3, CPU),
        "free-match": AdaptiveThreshold(3, 0.9, CPU),
        "soft-match": ConfidenceCurve(3, 0.9, CPU),
    }.get(name)
    batch = Batch(pool, torch.zeros(6, dtype=torch.int64), None, pool, Views(), 0.5, unlabeled_rows=torch.arange(6))
    method.pool_loss(net, net, batch)
    for old, new in zip(before, net.buffers(), strict=True):
        if old.is_floating_point():
            assert torch.equal(old, new)


def test_labels_are_smoothed_as_much_as_was_asked_for():
    batch = Batch(LABELED, TARGETS, None, None, GivenViews(LABELED, None), 0.0)
    for name in ONLINE[:-1]:
        method = make_method(name, label_smoothing=0.2, view="weak")
        found = method.loss(torch.nn.Identity(), batch)["supervised"].item()
        # Nine tenths of a target are the class's, one tenth the other's.
        terms = [-0.9 * math.log(right) - 0.1 * math.log(1 - right) for right in (softmax(2, 0)[0], softmax(0, 1)[1])]
        assert found == pytest.approx(sum(terms) / 2, rel=1e-5), name


def test_mixmatch_smooths_the_labels_and_takes_the_view_that_was_asked_for():
    class Turned(Jittered):
        def plain(self, samples):
            return samples

        def weak(self, samples):
            return -samples

    views = [torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])]
    method = MixMatch(view="plain", label_smoothing=0.2, alpha=0.5)
    method._state = np.random.default_rng(3)
    found = method.loss(torch.nn.Identity(), batch_of(Turned(*views), 1))["supervised"]
    mean = torch.stack([view.softmax(1) for view in views]).mean(0)
    guess = mean.square() / mean.square().sum()
    given = torch.cat([torch.eye(2), guess, guess])
    mixed, wanted = mixup(torch.cat([LABELED, *views]), given, 0.5, np.random.default_rng(3))
    logs = mixed.log_softmax(1)
    assert torch.isclose(found, -((0.8 * wanted[:2] + 0.1) * logs[:2]).sum(1).mean())


@pytest.mark.parametrize("kind", [FreeMatch, MixMatch, PiModel, PseudoLabel, ReMixMatch, SoftMatch, UDA])
def test_an_averaged_teacher_guesses_wherever_one_is_asked_for(kind, color_images, monkeypatch):
    module = sys.modules[kind.__module__]
    asked, original = [], module.probabilities
    monkeypatch.setattr(module, "probabilities", lambda net, weak: asked.append(net) or original(net, weak))
    X, y = color_images
    kind(steps=2, batch_size=8, unlabeled_ratio=1.0, teacher_decay=0.9, random_state=0).fit(X, y, unlabeled=X)
    assert len(asked) >= 2
    assert all(net is asked[0] and not net.training for net in asked)
    assert not any(parameter.requires_grad for parameter in asked[0].parameters())
