"""What all methods share that take labeled and pool samples in the same step."""

import numpy as np
import pytest
import torch

from fewlabels import METHODS, InputError, make_method
from fewlabels.methods import UDA, VAT, FixMatch, MixMatch, ReMixMatch, fixmatch, mixmatch, online, remixmatch
from fewlabels.storage.errors import TrainingWarning

pytestmark = pytest.mark.usefixtures("narrow_net")


def test_the_warm_start_learns_from_labels_alone(color_images):
    X, y = color_images
    seen = []
    method = FixMatch(steps=10, warm_start=0.3, threshold=0.0, random_state=0)
    method.fit(X, y, unlabeled=X, observer=seen.append)
    assert method.stage_steps_ == {"labeled samples alone": 3, "classifier": 7}
    first = [event for event in seen if event["stage"] == "labeled samples alone" and event["step"]]
    assert all("consistency" not in event for event in first)
    assert seen[-1]["consistency"] > 0
    assert method.gradient_images_ == 10 * 128 + 7 * 7 * 128


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_steps_are_as_many_as_were_asked_for(steps, color_images):
    X, y = color_images
    method = FixMatch(steps=steps, warm_start=0.5, random_state=0).fit(X, y, unlabeled=X)
    assert sum(method.stage_steps_.values()) == steps
    assert method.stage_steps_["classifier"] >= 1


def test_what_is_guessed_of_the_pool_is_kept_on_the_way(few_labels):
    X, y, *_ = few_labels
    pool = np.concatenate([X, X[:, ::-1], X[:, :, ::-1], 1 - X])
    settings = {"warm_start": 0.5, "flip": False, "final_weights": "last", "validation_fraction": 0.0}
    # The net guesses on the way as it is trained, and predicts in float32.
    settings |= {"precision": "float32"}
    events = []
    method = FixMatch(steps=12, batch_size=8, unlabeled_ratio=1, random_state=0, **settings)
    method.fit(X[:60], y[:60], unlabeled=pool, observer=events.append)
    stages = [look["stage"] for look in method.pool_looks_]
    assert stages == ["labeled samples alone"] * 6 + ["classifier"] * 6
    for look in method.pool_looks_:
        # Some of many, at random, and the same each time.
        assert len(look["rows"]) == len(look["guesses"]) == 250
        assert np.array_equal(look["rows"], method.pool_looks_[0]["rows"])
        assert look["rows"][-1] < len(pool)
    last = method.pool_looks_[-1]
    assert last["step"] == 6
    assert np.array_equal(method.classes_[last["guesses"]], method.predict(pool[last["rows"]]))
    # Whoever watches is told numbers.
    assert all(isinstance(value, int | float | str) for event in events for value in event.values())


def test_where_it_went_wrong_what_was_guessed_is_taken_back(few_labels, monkeypatch):
    X, y, *_ = few_labels
    steps, loss = [], FixMatch.loss

    def spoiled(self, nets, batch):
        steps.append(1)
        losses = loss(self, nets, batch)
        return {name: value * (float("nan") if len(steps) == 8 else 1.0) for name, value in losses.items()}

    monkeypatch.setattr(FixMatch, "loss", spoiled)
    with pytest.warns(TrainingWarning, match="not finite"):
        method = FixMatch(steps=12, batch_size=8, unlabeled_ratio=1, random_state=0).fit(X, y)
    assert len(steps) > 12
    looked = [event["step"] for event in method.history_ if "train_accuracy" in event]
    assert [look["step"] for look in method.pool_looks_] == looked


def test_the_second_rate_is_a_share_of_the_first(color_images):
    X, y = color_images
    settings = {"steps": 40, "batch_size": 8, "unlabeled_ratio": 1.0, "random_state": 0}
    method = FixMatch(**settings, warm_start=0.5, second_rate=0.25, learning_rate=0.2)
    method.fit(X, y, unlabeled=X)
    peaks = {}
    for event in method.history_:
        peaks[event["stage"]] = max(peaks.get(event["stage"], 0), event["learning_rate"])
    assert peaks["labeled samples alone"] == pytest.approx(0.2, rel=0.15)
    assert peaks["classifier"] == pytest.approx(0.05, rel=0.15)


def test_without_a_second_rate_both_stages_share_one_schedule(color_images):
    X, y = color_images
    settings = {"steps": 40, "learning_rate": 0.2, "batch_size": 8, "unlabeled_ratio": 1.0, "random_state": 0}
    method = FixMatch(**settings, warm_start=0.5, second_rate=0.0).fit(X, y, unlabeled=X)
    alone = FixMatch(**settings).fit(X, y, unlabeled=X)
    rates = [event["learning_rate"] for event in method.history_]
    assert np.allclose(rates, [event["learning_rate"] for event in alone.history_])
    assert method.stage_steps_ == {"labeled samples alone": 20, "classifier": 20}


@pytest.mark.parametrize(
    ("length", "decay"),
    [({"steps": 50}, 0.75), ({"steps": 5000}, 0.99), ({"epochs": 20}, 0.5), ({"budget": "2k images"}, 1 - 1 / 5.5)],
)
def test_an_average_after_a_warm_start_is_over_a_tenth_of_the_steps_at_most(length, decay, color_images, monkeypatch):
    X, y = color_images
    decays = []

    class Stopped(Exception):
        pass

    def note(network, decay, *, ramp):
        decays.append((decay, ramp))
        raise Stopped

    monkeypatch.setattr(online, "WeightAverage", note)
    # The decay follows from the length alone: nothing has to be trained.
    monkeypatch.setattr(UDA, "_train", lambda *arguments, **more: None)
    method = UDA(teacher_decay=0.99, warm_start=0.2, batch_size=16, unlabeled_ratio=1.0, validation_fraction=0.0)
    with pytest.raises(Stopped):
        method.set_params(**length).fit(X[:20], y[:20], unlabeled=X[20:])
    assert decays == [(pytest.approx(decay, abs=0.01), False)]


def test_an_averaged_teacher_guesses_and_is_what_remains(color_images, monkeypatch):
    X, y = color_images
    asked = []
    original = fixmatch.probabilities
    monkeypatch.setattr(fixmatch, "probabilities", lambda net, weak: asked.append(net) or original(net, weak))
    settings = {"steps": 40, "batch_size": 8, "unlabeled_ratio": 1.0, "warm_start": 0.5, "threshold": 0.0}
    settings["random_state"] = 0
    method = FixMatch(**settings, teacher_decay=0.9).fit(X, y, unlabeled=X)
    assert len(asked) == 20
    assert all(net is asked[0] and not net.training for net in asked)
    assert all(not parameter.requires_grad for parameter in asked[0].parameters())
    for mine, teachers in zip(method.network_.parameters(), asked[0].parameters(), strict=True):
        assert torch.equal(mine, teachers)
    alone = FixMatch(**settings).fit(X, y, unlabeled=X)
    pairs = zip(method.network_.parameters(), alone.network_.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


def test_remixmatchs_averaged_teacher_guesses(color_images, monkeypatch):
    X, y = color_images
    asked = []
    original = remixmatch.probabilities
    monkeypatch.setattr(remixmatch, "probabilities", lambda net, weak: asked.append(net) or original(net, weak))
    ReMixMatch(steps=2, batch_size=8, teacher_decay=0.9, warm_start=0.5, random_state=0).fit(X, y, unlabeled=X)
    assert asked
    assert not any(parameter.requires_grad for net in asked for parameter in net.parameters())


def test_mixmatch_guesses_by_as_many_views_as_were_asked_for(color_images, monkeypatch):
    X, y = color_images
    asked = []
    original = mixmatch.probabilities
    monkeypatch.setattr(mixmatch, "probabilities", lambda net, view: asked.append(len(view)) or original(net, view))
    method = MixMatch(guesses=3, unlabeled_ratio=1.0, steps=1, batch_size=8, random_state=0)
    method.fit(X, y, unlabeled=X)
    assert asked == [8, 8, 8]


def test_a_budget_with_a_warm_start_is_kept_and_its_steps_repeat_the_run(color_images):
    X, y = color_images
    timed = UDA(preset="short", budget="4s", random_state=0).fit(X, y, unlabeled=X)
    # Not much more, also on a machine that has other work.
    assert 2 < timed.fit_seconds_ < 10
    repeated = UDA(preset="short", steps=sum(timed.stage_steps_.values()), random_state=0).fit(X, y, unlabeled=X)
    assert repeated.stage_steps_ == timed.stage_steps_
    for a, b in zip(timed.network_.parameters(), repeated.network_.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.usefixtures("bare_net")
def test_rounding_to_the_dearer_steps_spends_no_more_than_there_is(few_labels):
    X, y, *_ = few_labels
    for images in range(500, 1500, 62):
        method = ReMixMatch(preset="short", budget=f"{images} images", batch_size=16, random_state=0).fit(X, y)
        assert images - 120 < method.gradient_images_ <= images


@pytest.mark.parametrize(
    ("method", "passes"),
    [
        (MixMatch(guesses=2), 2),
        (ReMixMatch(strong_views=3), 6),
        (ReMixMatch(strong_views=1, strong_weight=0, rotation_weight=0), 2),
        (VAT(), 3),
        (FixMatch(unlabeled_ratio=1), 1),
    ],
)
def test_all_views_that_go_backward_are_counted(method, passes, color_images):
    X, y = color_images
    method.set_params(steps=2, batch_size=16, random_state=0).fit(X, y, unlabeled=X)
    assert method.gradient_images_ == 2 * 16 * (1 + passes)


@pytest.mark.parametrize(
    "settings",
    [
        {"warm_start": 1.0},
        {"teacher_decay": 1.0},
        {"unlabeled_ratio": 0},
        {"unlabeled_weight": -1},
        {"second_rate": -1},
        {"threshold": 1.0},
    ],
)
@pytest.mark.parametrize("method", [FixMatch, UDA])
def test_settings_out_of_range_are_refused(method, settings, color_images):
    with pytest.raises(InputError, match=f"{next(iter(settings))}="):
        method(**settings).fit(*color_images)


@pytest.mark.parametrize("name", [name for name in METHODS if "unlabeled_ratio" in make_method(name).get_params()])
def test_a_small_share_of_a_small_batch_is_still_enough_for_statistics_of_the_batch(name, digits):
    images, labels = digits
    vectors = images.reshape(len(images), -1)[:60]
    short = {"pretraining_steps": 1} if "pretraining_steps" in make_method(name).get_params() else {}
    method = make_method(name, steps=2, batch_size=2, unlabeled_ratio=0.1, random_state=0, **short)
    method.fit(vectors[:40], labels[:40], unlabeled=vectors[40:])
    assert sum(method.stage_steps_.values()) >= 2


def test_free_match_tells_how_much_of_the_pool_counts(few_labels):
    X, y, *_ = few_labels
    settings = {"steps": 20, "batch_size": 16, "unlabeled_ratio": 1.0, "mean_decay": 0.5, "random_state": 0}
    told = [event["pool_admitted"] for event in make_method("free-match", **settings).fit(X, y).history_]
    assert 0 < min(told) < 1


def test_whoever_watches_is_told_of_both_stages_from_the_start(color_images):
    X, y = color_images
    told = []
    FixMatch(steps=4, batch_size=8, warm_start=0.5, random_state=0).fit(X, y, unlabeled=X, observer=told.append)
    assert {event["stage_count"] for event in told} == {2}
