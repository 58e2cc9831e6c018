"""The guard: whose gradient counts, and which net is the result."""

import warnings

import numpy as np
import pytest
import torch
from ruined import ruined
from torch import nn

from fewlabels import load, make_method
from fewlabels.methods import FixMatch, choice
from fewlabels.methods.findings import findings
from fewlabels.methods.guard import is_worse
from fewlabels.storage.errors import InputError, TrainingWarning
from fewlabels.training.loop import backward_where_agreed

pytestmark = pytest.mark.usefixtures("narrow_net")


def test_is_worse_needs_more_than_chance():
    before = np.arange(100) < 80
    assert is_worse(before, np.arange(100) < 60)
    assert not is_worse(before, np.arange(100) < 79)
    assert not is_worse(np.empty(0, bool), np.empty(0, bool))
    # Five of a hundred are 2.3 standard errors.
    assert not is_worse(before, np.arange(100) < 75)
    assert is_worse(before, np.arange(100) < 75, errors=2.0)


@pytest.mark.parametrize(("of_pool", "agreed", "expected"), [([3.0, 1.0], 1, [4.0, 3.0]), ([-3.0, 1.0], 0, [1.0, 2.0])])
def test_the_pools_gradient_counts_where_it_does_not_point_against_the_labels(of_pool, agreed, expected):
    net = nn.Linear(2, 1, bias=False)
    losses = {
        "supervised": (net.weight * torch.tensor([[1.0, 2.0]])).sum(),
        "consistency": (net.weight * torch.tensor([of_pool])).sum() / 2,
        "similarity": (net.weight * torch.tensor([of_pool])).sum() / 2,
    }
    assert backward_where_agreed(net, losses).item() == agreed
    assert net.weight.grad.tolist() == [expected]


def test_parameters_that_one_loss_alone_reaches_get_its_gradient():
    nets = nn.ModuleDict({name: nn.Linear(1, 1, bias=False) for name in ("shared", "of_labels", "of_pool", "of_none")})
    weight = {name: module.weight.sum() for name, module in nets.items()}
    losses = {
        "supervised": weight["shared"] + 2 * weight["of_labels"],
        "consistency": weight["shared"] + 3 * weight["of_pool"],
    }
    backward_where_agreed(nets, losses)
    found = {name: None if m.weight.grad is None else m.weight.grad.item() for name, m in nets.items()}
    assert found == {"shared": 2.0, "of_labels": 2.0, "of_pool": 3.0, "of_none": None}


def test_steps_against_the_labels_are_counted(few_labels):
    class Harmful(FixMatch):
        def pool_loss(self, nets, teacher, batch):
            """Ask for what the labels forbid: all of the pool is to be classified as the batch's labels are not."""
            logits = nets(batch.views.plain(batch.labeled))
            return {"consistency": 10 * nn.functional.cross_entropy(logits, (batch.targets + 1) % 10)}

    X, y, test, truth = few_labels
    settings = {"steps": 40, "random_state": 0, "validation_fraction": 0.2}
    unguarded = Harmful(**settings).fit(X, y)
    guarded = Harmful(guard=True, **settings).fit(X, y)
    assert guarded.guard_["pool_steps"] == 40
    assert guarded.guard_["steps_left_out"] > 10
    assert guarded.score(test, truth) > unguarded.score(test, truth) + 0.2


def test_a_net_that_is_worse_than_labels_alone_is_not_the_result(few_labels, tmp_path):
    class Broken(FixMatch):
        def _learn(self, session):
            return session.new_classifier()

    X, y, test, truth = few_labels
    method = Broken(guard=True, steps=60, random_state=0, validation_fraction=0.4).fit(X, y)
    assert method.guard_["accepted"] is False
    assert method.guard_["supervised_accuracy"] > method.guard_["accuracy"]
    assert method.score(test, truth) > 0.5
    assert Broken(steps=60, random_state=0, validation_fraction=0.4).fit(X, y).score(test, truth) < 0.4


@pytest.mark.parametrize("name", ["uda", "self-training", "ensemble-labels"])
def test_methods_that_begin_with_the_labels_alone_bring_the_net_to_fall_back_on(few_labels, name):
    vectors = name == "ensemble-labels"
    X, y, test, truth = few_labels
    X, test = (X.reshape(len(X), -1), test.reshape(len(test), -1)) if vectors else (X, test)
    parent = type(make_method(name))

    length = {} if vectors else {"steps": 60}
    settings = {"random_state": 0, "validation_fraction": 0.4, **length}
    method = ruined(parent)(guard=True, **settings)
    if name == "uda":
        method.set_params(preset="short")
    method.fit(X, y)
    # No stage is added for the guard.
    assert next(iter(method.stage_steps_)) in ("labeled samples alone", "teacher", "teachers")
    assert len(method.stage_steps_) == {"uda": 2, "self-training": 3, "ensemble-labels": 2}[name]
    assert method.guard_["accepted"] is False
    assert method.guard_["supervised_accuracy"] > method.guard_["accuracy"]
    # The net and its held-out accuracy are those of its own stage.
    assert method.validation_accuracy_ == pytest.approx(method.guard_["supervised_accuracy"])
    assert method.score(test, truth) > 0.5
    assert set(method.kept_weights_) <= {"last", "best-on-validation"}


def test_a_method_with_one_schedule_for_both_stages_gets_a_net_of_its_own(few_labels):
    X, y, *_ = few_labels
    settings = {"preset": "short", "second_rate": 0.0, "steps": 20, "random_state": 0}
    method = make_method("uda", guard=True, **settings).fit(X, y)
    assert list(method.stage_steps_.values()) == [20, 6, 14]


def test_a_net_that_is_no_worse_is_kept_and_loads(few_labels, tmp_path):
    X, y, test, _ = few_labels
    method = make_method("fix-match", guard=True, steps=40, threshold=0.5, random_state=0).fit(X, y)
    assert method.guard_["accepted"] is True
    assert method.guard_["pool_steps"] == 40
    assert list(method.stage_steps_.values()) == [40, 40]
    again = load(method.save(tmp_path / "model"))
    assert np.array_equal(again.predict(test), method.predict(test))


def test_where_nothing_is_held_out_no_net_to_fall_back_on_is_trained_and_that_is_told(few_labels):
    X, y, test, _ = few_labels
    settings = {"guard": True, "steps": 4, "validation_fraction": 0.0, "random_state": 0}
    method = make_method("fix-match", **settings).fit(X, y)
    assert list(method.stage_steps_.values()) == [4]
    assert (method.guard_["accepted"], method.guard_["accuracy"]) == (True, None)
    assert any("had nothing to compare with the labels alone on" in sentence for sentence in findings(method))
    alone = make_method("uda", preset="short", **settings).fit(X, y)
    assert any("had nothing to compare" in sentence for sentence in findings(alone))
    assert len(alone.predict(test)) == len(test)


def test_a_budget_has_room_for_the_net_to_fall_back_on(few_labels, monkeypatch):
    monkeypatch.setattr(choice, "_TOO_SHORT", 10_000)
    X, y, *_ = few_labels
    method = make_method("uda", guard=True, budget="20k images", random_state=0).fit(X, y)
    assert 17_000 < method.gradient_images_ <= 20_000
    assert next(iter(method.stage_steps_.values())) == pytest.approx(0.2 * 20_000 / 128, abs=2)


@pytest.mark.parametrize("name", ["uda", "fix-match", "self-training", "two-step-autoencoder", "sim-clr"])
def test_all_of_a_budget_in_which_no_pool_pays_goes_into_the_labels(few_labels, name, tmp_path):
    X, y, test, _ = few_labels
    settings = {"budget": "6k images", "random_state": 0}
    method = make_method(name, guard=True, preset="auto", **settings).fit(X, y)
    alone = make_method("supervised", **settings).fit(X, y)
    assert list(method.stage_steps_) == ["labeled samples alone"]
    assert method.guard_ == {
        "accepted": False,
        "held_back": True,
        "pretrained": False,
        "supervised_accuracy": alone.validation_accuracy_,
        "accuracy": None,
        "pool_steps": 0,
        "steps_left_out": 0,
    }
    assert np.array_equal(method.predict_proba(test), alone.predict_proba(test))
    assert len(method.transduction_) == len(y)
    assert "the guard held the pool back" in findings(method)[-1]
    again = load(method.save(tmp_path / "model"))
    assert np.array_equal(again.predict_proba(test), method.predict_proba(test))
    for model in (method, again):
        if hasattr(model, "reconstruct"):
            with pytest.raises(InputError, match="the guard held the pool back"):
                model.reconstruct(test)


def test_whether_a_pool_pays_goes_by_the_time_that_the_estimate_leaves_and_by_the_labels(few_labels, monkeypatch):
    X, y, *_ = few_labels
    monkeypatch.setattr(choice, "_TOO_SHORT", 9_000)
    for settings, held_back in (({}, False), ({"assess_pool": True}, True)):
        known = {"preset": "short", "budget": "10k images", "random_state": 0}
        method = make_method("fix-match", guard=True, **known, **settings).fit(X, y)
        assert method.guard_["held_back"] is held_back
    # A net to fall back on that it does not bring along takes a fifth, too.
    for settings, held_back in (({"preset": "short"}, False), ({}, True)):
        method = make_method("fix-match", guard=True, budget="11k images", random_state=0, **settings).fit(X, y)
        assert method.guard_["held_back"] is held_back
    monkeypatch.setattr(choice, "_FEW_LABELS", 5)
    assert make_method("fix-match", guard=True, budget="10k images", random_state=0).fit(X, y).guard_["held_back"]


@pytest.mark.parametrize(("images", "held_back"), [(1e12, True), (1.0, False)])
def test_a_budget_in_time_is_weighed_by_what_it_allows(few_labels, monkeypatch, images, held_back):
    monkeypatch.setattr(choice, "_TOO_SHORT", images)
    X, y, *_ = few_labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        method = make_method("fix-match", guard=True, budget="1s", random_state=0).fit(X, y)
    assert method.guard_["held_back"] is held_back


@pytest.mark.parametrize("name", ["fix-match", "noisy-student", "re-mix-match"])
def test_a_pool_that_is_held_back_leaves_the_settings_that_were_asked_for(few_labels, name, tmp_path):
    X, y, test, _ = few_labels
    shared = {"budget": "4k images", "random_state": 0}
    usual, alone = make_method(name, guard=True, **shared).fit(X, y), make_method("supervised", **shared).fit(X, y)
    assert np.array_equal(usual.predict_proba(test), alone.predict_proba(test))
    assert (usual.settings_["view"], usual.settings_["label_smoothing"]) == (alone.view, alone.label_smoothing)
    assert np.array_equal(load(usual.save(tmp_path / "model")).predict_proba(test), usual.predict_proba(test))
    asked = {"view": "plain", "label_smoothing": 0.05, "dropout": 0.2, **shared}
    found, wanted = make_method(name, guard=True, **asked).fit(X, y), make_method("supervised", **asked).fit(X, y)
    assert np.array_equal(found.predict_proba(test), wanted.predict_proba(test))
    assert not np.array_equal(found.predict_proba(test), usual.predict_proba(test))


def test_auto_guards_nothing_where_what_it_chose_learns_nothing_from_the_pool(few_labels):
    X, y, *_ = few_labels
    method = make_method("auto", net="linear", random_state=0).fit(X.reshape(len(X), -1)[:80], y[:80])
    assert method.choice_["method"] == "linear-probe"
    assert not hasattr(method, "guard_")
    assert list(method.stage_steps_.values()) == [1]


@pytest.mark.parametrize("name", ["supervised", "linear-probe", "prototypes"])
def test_there_is_nothing_to_guard_where_no_gradient_comes_from_the_pool(few_labels, name):
    X, y, *_ = few_labels
    length = {"steps": 20} if name == "supervised" else {}
    method = make_method(name, guard=True, random_state=0, **length).fit(X, y)
    assert not hasattr(method, "guard_")
    assert "to fall back on" not in str(method.stage_steps_)


def test_what_was_found_is_told_and_kept(tmp_path):
    from test_pool_quality import open_set

    X, y, pool = open_set()
    settings = {"assess_pool": True, "guard": True, "steps": 40, "threshold": 0.5, "random_state": 0}
    method = make_method("fix-match", **settings).fit(X, y, unlabeled=pool)
    told = findings(method, ["cats", "dogs"])
    assert told[0].startswith(f"of the pool, an estimated {method.pool_inside_share_:.0%} at most")
    assert told[1].startswith("classes in the pool, by estimate: cats 7")
    again = load(method.save(tmp_path / "model"))
    assert again.guard_ == method.guard_
    assert list(again.pool_prior_) == list(method.pool_prior_)
    method.guard_ |= {"accepted": False, "steps_left_out": 3, "supervised_accuracy": 0.75, "accuracy": 0.5}
    assert "out of 3 of 40 steps" in findings(method)[2]
    assert "75.0% on held-out images against 50.0% with the pool" in findings(method)[3]
    assert findings(make_method("supervised", steps=2).fit(X, y)) == []
