import sys

import pytest
import torch
from torch import nn

from fewlabels import SimCLR, TwoStepAutoencoder, make_method
from fewlabels.storage.errors import TrainingWarning
from fewlabels.training.batches import Batch
from fewlabels.training.checkpoint import Checkpoints
from fewlabels.training.loop import train
from fewlabels.training.monitor import Monitor
from fewlabels.training.recipe import Recipe
from fewlabels.training.recovery import Diverged
from fewlabels.training.watch import ADMITTED, GUESSED, warnings_of


def batches(size=4):
    rows = torch.arange(size)
    while True:
        yield Batch(torch.zeros(size, 1), torch.zeros(size, dtype=torch.long), None, None, None, 0.0, rows)


def fit(net, loss, steps=40, rate=0.1):
    monitor = Monitor()
    recipe = Recipe(optimizer="sgd", learning_rate=rate, momentum=0.0, schedule="constant")
    train(net, batches(), loss, steps=steps, recipe=recipe, monitor=monitor, stage="s")
    return monitor


def a_net():
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    return net


@pytest.mark.filterwarnings("ignore::fewlabels.storage.errors.TrainingWarning")
def test_a_step_that_goes_wrong_is_taken_back_and_the_rate_lowered():
    net, seen = a_net(), []

    def loss(batch):
        seen.append((round(batch.progress * 40), net.weight.item()))
        worse = torch.tensor(float("nan")) if len(seen) == 21 else torch.tensor(1.0)
        return {"l": net.weight.sum() * worse}

    monitor = fit(net, loss)
    step, weight = seen[20]
    back, again = seen[21]
    assert step == 20
    # A state is kept every two steps; the one that the wrong step was to go on from has shown itself to be none.
    assert back == 18
    assert again == pytest.approx(seen[18][1]) != weight
    # So far at the rate of 0.1, the rest of the way at a third of it.
    assert net.weight.item() == pytest.approx(1 - 18 * 0.1 - 22 * 0.1 / 3, abs=1e-5)
    assert [event["step"] for event in monitor.history] == list(range(1, 41))
    assert "went back to step 18" in monitor.notes[0]
    assert "a third of the learning rate" in monitor.notes[0]


@pytest.mark.filterwarnings("ignore::fewlabels.storage.errors.TrainingWarning")
def test_training_goes_back_to_before_the_step_that_has_led_astray():
    net = a_net()
    # The first step, at this rate, leads to where the loss is no number at any rate.
    monitor = fit(net, lambda batch: {"l": (net.weight - 0.1 * net.weight.log()).sum()}, steps=20, rate=2)
    assert 0 < net.weight.item() < 0.2
    assert "in step 2 of 20" in monitor.notes[0]
    assert "went back to step 0" in monitor.notes[0]


@pytest.mark.filterwarnings("ignore::fewlabels.storage.errors.TrainingWarning")
def test_no_state_is_kept_whose_statistics_have_overflown():
    net, seen = nn.BatchNorm1d(1), []

    def loss(batch):
        seen.append(round(batch.progress * 20))
        scale = 1e30 if len(seen) == 11 else 1.0
        worse = float("nan") if len(seen) == 14 else 1.0
        return {"l": net(scale * torch.arange(4.0)[:, None]).square().sum() * worse}

    monitor = fit(net, loss, steps=20)
    assert seen[13:15] == [13, 9]
    assert torch.isfinite(net.running_var).all()
    assert "went back to step 9" in monitor.notes[0]


@pytest.mark.filterwarnings("ignore::fewlabels.storage.errors.TrainingWarning")
def test_steps_taken_back_are_not_counted_among_those_whose_gradients_were_compared():
    net, seen = a_net(), []

    def loss(batch):
        seen.append(1)
        worse = torch.tensor(float("nan")) if len(seen) == 22 else torch.tensor(1.0)
        return {"supervised": net.weight.sum(), "pool": -net.weight.sum() * worse}

    monitor = Monitor()
    recipe = Recipe(optimizer="sgd", learning_rate=0.01, momentum=0.0, schedule="constant")
    train(net, batches(), loss, steps=40, recipe=recipe, monitor=monitor, stage="s", agreement=True)
    assert len(seen) > 41
    assert (monitor.pool_steps, monitor.steps_left_out()) == (40, 40)


@pytest.mark.filterwarnings("ignore::fewlabels.storage.errors.TrainingWarning")
def test_a_gradient_that_is_not_finite_is_caught_before_the_weights_move():
    net, weights = a_net(), []

    def loss(batch):
        weights.append(net.weight.item())
        # The loss is 0; its gradient is not.
        return {"l": (net.weight - net.weight.detach()).abs().sum().sqrt() if len(weights) == 8 else net.weight.sum()}

    fit(net, loss)
    assert all(weight == weight for weight in weights)


@pytest.mark.filterwarnings("ignore::fewlabels.storage.errors.TrainingWarning")
def test_what_stays_wrong_stops_with_step_samples_and_cause():
    net, tries = a_net(), []

    def loss(batch):
        if round(batch.progress * 40) < 9:
            return {"l": net.weight.sum()}
        tries.append(1)
        return {"good": net.weight.sum(), "pool": net.weight.sum() * float("inf")}

    with pytest.raises(
        Diverged, match=r"step 10 of 40.*the loss \(pool\).*labeled samples 0, 1, 2, 3.*below"
    ) as caught:
        fit(net, loss)
    assert len(tries) == 4
    caught.value.name([f"{letter}\u202e.png" for letter in "abcd"], None)
    assert "labeled samples a\\u202e.png, b" in str(caught.value)


@pytest.mark.filterwarnings("ignore::fewlabels.storage.errors.TrainingWarning")
def test_a_rate_far_too_high_ends_in_advice(few_labels):
    X, y, *_ = few_labels
    method = make_method("supervised", optimizer="sgd", learning_rate=1e30, steps=10, random_state=0)
    with pytest.raises(Diverged, match="no longer finite") as caught:
        method.fit(X, y)
    # The rows are those of X.
    assert all(y[row] >= 0 for row in caught.value.labeled)


def test_good_numbers_are_not_touched(few_labels):
    """What the checks cost is in docs/reliability.md; what they change is nothing."""
    net = a_net()
    monitor = fit(net, lambda batch: {"l": net.weight.sum()})
    assert net.weight.item() == pytest.approx(-3.0, abs=1e-5)
    assert monitor.notes == []


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_a_finished_stage_that_could_not_be_written_is_written_with_the_next(tmp_path):
    import resource

    def stage(checkpoints):
        return checkpoints.next_stage("s", {}, torch.device("cpu"))

    nets = [nn.Linear(2, 2) for _ in range(3)]
    checkpoints = Checkpoints(tmp_path / "c", every=0)
    checkpoints.describe({"method": "m"}, {})
    stage(checkpoints).finish(nets[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.warns(TrainingWarning, match="no checkpoint could be written: File too large"):
            stage(checkpoints).finish(nets[1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    stage(checkpoints).finish(nets[2])
    checkpoints.close()
    again = Checkpoints(tmp_path / "c")
    for net in nets:
        found = nn.Linear(2, 2)
        assert stage(again).replay(found) is not None
        assert torch.equal(found.weight, net.weight)
    again.close()


def events(count, **values):
    return [{"stage": "s", "step": i, "steps": 100} | {k: v(i) for k, v in values.items()} for i in range(1, count + 1)]


def test_a_collapse_is_warned_of_after_three_looks():
    looks = {GUESSED: lambda i: 1}
    assert warnings_of(events(2, **looks)) == []
    assert "same class" in warnings_of(events(3, **looks))[0]
    assert warnings_of(events(3, **{GUESSED: lambda i: 1 + (i == 2)})) == []


def test_a_threshold_that_admits_nothing_or_everything_is_warned_of():
    nothing = warnings_of(events(60, **{ADMITTED: lambda i: 0.5 if i < 20 else 0.0}))
    assert "lower threshold" in nothing[0]
    everything = warnings_of(events(60, **{ADMITTED: lambda i: 1.0}))
    assert "raise threshold" in everything[0]
    # One that moves by itself begins low.
    assert warnings_of(events(60, **{ADMITTED: lambda i: 1.0}), threshold_moves=True) == []
    moved = warnings_of(events(60, **{ADMITTED: lambda i: 0.5 if i < 20 else 0.0}), threshold_moves=True)
    assert moved[0].endswith(
        "so that the pool has taught nothing; lower threshold where there is one, or train for longer"
    )
    # Nothing for a short while, and everything once it is learned, are as they should be.
    assert warnings_of(events(60, **{ADMITTED: lambda i: 0.0 if i < 20 else 1.0})) == []


def test_a_threshold_out_of_reach_is_warned_of_in_a_fit(few_labels):
    X, y, *_ = few_labels
    method = make_method("fix-match", threshold=0.9999999, steps=100, batch_size=8, unlabeled_ratio=1.0, random_state=0)
    with pytest.warns(TrainingWarning, match="lower threshold"):
        method.fit(X, y)
    assert any("lower threshold" in note for note in method.notes_)


@pytest.mark.parametrize("name", ["flex-match", "free-match"])
def test_of_a_threshold_that_moves_by_itself_no_other_is_asked_for(name, few_labels):
    X, y, *_ = few_labels
    method = make_method(name, steps=100, batch_size=8, unlabeled_ratio=1.0, random_state=0).fit(X, y)
    assert not any("threshold" in note for note in method.notes_)


@pytest.mark.filterwarnings("ignore::fewlabels.storage.errors.TrainingWarning")
@pytest.mark.parametrize("kind", [TwoStepAutoencoder, SimCLR])
def test_the_samples_of_a_batch_of_labeled_and_pool_samples_are_told_apart(kind, few_labels):
    X, y, *_ = few_labels
    method = kind(steps=2, pretraining_rate=1e38, optimizer="sgd", random_state=0)
    with pytest.raises(Diverged) as caught:
        method.fit(X[:60], y[:60], unlabeled=X[60:70])
    assert set(caught.value.pool) <= set(range(10))
    assert set(caught.value.labeled) <= set(range(60))
    assert caught.value.labeled
    assert caught.value.pool
