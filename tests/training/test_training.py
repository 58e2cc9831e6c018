import time

import numpy as np
import pytest
import torch
from torch import nn

from fewlabels.storage.errors import InputError
from fewlabels.training.batches import Batch, Rows, ShuffledRows
from fewlabels.training.budget import ImageBudget, TimeBudget, read_budget
from fewlabels.training.calibration import best_scale_and_biases, best_temperature
from fewlabels.training.loop import train
from fewlabels.training.monitor import Monitor
from fewlabels.training.recipe import Recipe
from fewlabels.training.snapshot import capture, restore


def endless(batch):
    while True:
        yield batch


def a_batch(size=4):
    return Batch(torch.zeros(size, 1), torch.zeros(size, dtype=torch.long), None, None, None, 0.0)


def fit(net, loss, steps=20, **settings):
    recipe = Recipe(**{"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.0, "schedule": "constant"} | settings)
    monitor = Monitor()
    train(net, endless(a_batch()), loss, steps=steps, recipe=recipe, monitor=monitor, stage="s")
    return monitor


def test_weights_cast_for_guesses_are_cast_anew_to_learn():
    # Before PyTorch 2.11 what was cast without gradients would be used again, and the weights would stay.
    net = nn.Linear(1, 2)
    kept = []

    def loss(batch):
        kept.append(torch.is_autocast_cache_enabled())
        with torch.no_grad():
            net(batch.labeled + 1)
        return {"a": net(batch.labeled + 1).float().square().sum()}

    before = net.weight.detach().clone()
    fit(net, loss, steps=2, precision=torch.bfloat16)
    assert kept == [False, False]
    assert not torch.equal(net.weight, before)


def test_the_triangle_rises_to_the_peak_and_falls_to_nothing():
    factors = [Recipe(warmup=0.25).factor(step, 100) for step in range(100)]
    assert max(factors) == pytest.approx(1, abs=0.02)
    assert factors.index(max(factors)) == pytest.approx(25, abs=1)
    assert factors[0] < 0.05
    assert factors[-1] < 0.01
    assert {Recipe(schedule="constant").factor(step, 10) for step in range(10)} == {1.0}


def test_weights_that_begin_so_move_by_the_factor():
    net = nn.ModuleDict({"slow": nn.Linear(1, 1, bias=False), "fast": nn.Linear(1, 1, bias=False)})
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    monitor = Monitor()
    train(
        net,
        endless(a_batch()),
        lambda _: {"l": net["slow"].weight.sum() + net["fast"].weight.sum()},
        steps=3,
        recipe=Recipe(optimizer="sgd", learning_rate=0.1, momentum=0.0, schedule="constant"),
        monitor=monitor,
        stage="s",
        rate_factors={"slow.": 0.1},
    )
    moved = {name: (p.detach() - before[name]).item() for name, p in net.named_parameters()}
    assert moved["slow.weight"] == pytest.approx(-0.03, rel=1e-4)
    assert moved["fast.weight"] == pytest.approx(-0.3, rel=1e-4)


def test_weight_decay_spares_biases():
    net = nn.Linear(1, 1)
    with torch.no_grad():
        net.weight.fill_(1.0)
        net.bias.fill_(1.0)
    fit(net, lambda _: {"l": 0 * net.weight.sum() + 0 * net.bias.sum()}, weight_decay=0.5)
    assert net.weight.item() < 0.5
    assert net.bias.item() == 1.0


def test_training_ends_with_the_average_of_the_weights():
    net = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(0.0)
    fit(net, lambda _: {"l": -net.weight.sum()}, steps=50, ema_decay=0.9)
    average, weight = 0.0, 0.0
    for step in range(50):
        weight += 0.1
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    assert net.weight.item() == pytest.approx(average, rel=1e-4)


def test_the_history_has_means_of_named_losses_and_counts_images():
    net = nn.Linear(1, 1)
    monitor = fit(net, lambda _: {"a": 0 * net.weight.sum() + 2, "b": 0 * net.bias.sum() + 3}, steps=250)
    assert len(monitor.history) == pytest.approx(125, abs=10)
    last = monitor.history[-1]
    assert (last["loss"], last["a"], last["b"]) == (5, 2, 3)
    assert last["step"] == last["steps"] == 250
    assert last["gradient_images"] == 1000


@pytest.mark.filterwarnings("ignore::fewlabels.storage.errors.TrainingWarning")
def test_a_loss_that_is_not_finite_stops_with_the_step_and_what_to_try():
    net = nn.Linear(1, 1)
    with pytest.raises(InputError, match=r"no longer finite in step 1 of 5.*try a learning rate below 0\.0037"):
        fit(net, lambda _: {"a": net.weight.sum() * float("nan")}, steps=5)


def test_batches_hold_every_row_once_a_pass_and_are_always_full():
    batches = ShuffledRows(10, 4, np.random.default_rng(0))
    drawn = [next(batches) for _ in range(5)]
    assert all(len(batch) == 4 for batch in drawn)
    assert sorted(np.concatenate(drawn)) == sorted(list(range(10)) * 2)


def test_rows_of_several_sources_come_in_the_order_asked_for():
    first, second = np.arange(6).reshape(3, 2), np.arange(100, 104).reshape(2, 2)
    rows = Rows([first, np.empty((0, 2), int), Rows([second])])
    assert len(rows) == 5
    taken = rows.take(np.array([4, 0, 3, 4]), torch.device("cpu"))
    assert taken.tolist() == [[102, 103], [0, 1], [100, 101], [102, 103]]
    assert torch.cat(list(rows.chunks(2, torch.device("cpu")))).shape == (5, 2)


def test_calibration_finds_the_temperature_that_made_the_logits_overconfident():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4000, 5)) * 2
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([generator.choice(5, p=row) for row in chances])
    assert best_temperature(logits, labels) == pytest.approx(1, abs=0.1)
    assert best_temperature(3 * logits, labels) == pytest.approx(3, abs=0.3)
    assert best_temperature(logits[:0], labels[:0]) == 1.0


def test_ten_right_answers_are_no_proof_of_certainty():
    logits = np.eye(10) * 4
    temperature = best_temperature(logits, np.arange(10))
    confidence = np.exp(4 / temperature) / (np.exp(4 / temperature) + 9)
    assert confidence == pytest.approx(11 / 12, abs=0.02)


def test_a_training_that_goes_on_in_a_part_of_a_budget_has_spent_of_the_whole():
    def budgets(now):
        whole = TimeBudget(100.0, lambda: now[0])
        return whole, whole.part(40.0)

    before, after = [0.0], [1000.0]
    whole, part = budgets(before)
    before[0] = 30.0
    kept = capture({"budget": part})
    whole, part = budgets(after)
    restore({"budget": part}, kept)
    assert (whole.left(), part.left()) == (70.0, 10.0)


@pytest.mark.parametrize("budget", ["", "5 minutes", "-3", "0", "nan", "1h-3m", "m", "images", "0 images", "3g images"])
def test_a_budget_that_is_neither_time_nor_images_is_refused(budget):
    with pytest.raises(InputError, match="neither a time, like 90s, 5m or 1h30m, nor gradient images"):
        read_budget(budget)


def test_time_runs_down_and_what_is_reserved_is_kept():
    budget = read_budget("3s")
    assert isinstance(budget, TimeBudget)
    budget.reserve(lambda: 1.0)
    time.sleep(0.1)
    assert 1.7 < budget.left() < 1.91


def test_images_are_spent_by_training_alone():
    spent = [0]
    budget = read_budget("1.5k images", lambda: spent[0])
    assert isinstance(budget, ImageBudget)
    budget.reserve(lambda: 100.0)
    assert budget.cost_of(lambda: 100.0) == 0
    assert budget.cost_of_step(lambda count, after_step: 128 * count) == 128
    spent[0] = 500
    assert budget.left() == 1000


@pytest.mark.parametrize(("seconds", "most"), [(0.01, 40), (0.1, 6)])
def test_a_steps_duration_is_measured_on_enough_of_them_and_not_many_more(seconds, most):
    counts = []

    def run(count, note):
        counts.append(count)
        # What is paid once a training, and the first steps, which allocate, do not count.
        time.sleep(0.1)
        for number in range(count):
            time.sleep(seconds if number > 1 else 2 * seconds)
            note()
        return 0

    assert TimeBudget(10.0).cost_of_step(run) == pytest.approx(seconds, rel=0.2)
    assert counts[-1] * seconds > 0.15
    assert sum(counts) <= most


def test_a_look_at_accuracies_leaves_the_nets_in_training():
    net = nn.Linear(1, 1)
    training, looks = [], []

    def loss(batch):
        training.append(net.training)
        return {"l": net.weight.sum()}

    def accuracies():
        net.eval()
        looks.append(len(training))
        return {}

    recipe = Recipe(optimizer="sgd", learning_rate=0.1, momentum=0.0, schedule="constant")
    train(
        net,
        endless(a_batch()),
        loss,
        steps=20,
        recipe=recipe,
        monitor=Monitor(),
        stage="s",
        accuracies=accuracies,
        evaluations=3,
    )
    assert looks == [7, 13, 20]
    assert training == [True] * 20
    assert not net.training


def test_few_held_out_labels_move_the_scale_little():
    # Right on both, they would be the likelier the larger the scale.
    scale, biases = best_scale_and_biases(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.array([0, 1]))
    assert 1 < scale < 3
    assert biases == pytest.approx([0, 0], abs=1e-3)
