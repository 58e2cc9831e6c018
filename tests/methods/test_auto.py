"""Auto: takes a method by the data, tries where labels allow, guards, and says so."""

import numpy as np
import pytest

from fewlabels import METHODS, Auto, Supervised, load, make_method
from fewlabels.methods import auto
from fewlabels.methods.choice import Candidate
from fewlabels.methods.findings import findings
from fewlabels.methods.guard import right_answers
from small_backbones import Colors, tiny_dinov2

pytestmark = pytest.mark.usefixtures("narrow_net")


def test_the_chosen_method_learns_as_it_would_by_itself(few_labels):
    X, y, test, _ = few_labels
    chosen = Auto(steps=30, guard=False, random_state=0).fit(X, y)
    by_hand = make_method(chosen.choice_["method"], **chosen.choice_["settings"], steps=30, random_state=0).fit(X, y)
    assert np.array_equal(chosen.predict_proba(test), by_hand.predict_proba(test))


def test_without_a_pool_the_labels_alone_are_learned_and_nothing_is_guarded(few_labels):
    X, y, *_ = few_labels
    method = Auto(steps=10, random_state=0).fit(X[:60], y[:60])
    assert method.choice_["method"] == "supervised"
    assert list(method.stage_steps_.values()) == [10]
    assert not hasattr(method, "guard_")


def test_patches_answer_too_where_images_are_large_enough_and_time_is_not_short(color_images):
    images, labels = color_images
    images = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    # The length of 2,800 images, which is half of what they take.
    method = Auto(steps=22, random_state=0).fit(images, labels)
    settings = {"net_method": "supervised"}
    assert (method.choice_["method"], method.choice_["settings"]) == ("net-and-patches", settings)
    assert method.choice_["because"][-1] == "a linear classifier of typical patches errs on other images than a net"
    assert 0 < method.patch_share_ < 0.8
    assert method.score(images, labels) > 0.9
    assert Auto(steps=18, random_state=0).fit(images, labels).choice_["method"] == "supervised"
    # A second is less than four times what they take.
    hasty = Auto(budget="1s", random_state=0).fit(images, labels)
    assert (hasty.choice_["method"], hasty.choice_["settings"]) == ("supervised", {"net": "fast-coarse"})


def test_settings_that_all_methods_share_are_passed_on(few_labels):
    X, y, *_ = few_labels
    method = Auto(steps=6, net="fast-wide", batch_size=16, guard=False, random_state=0).fit(X, y)
    assert method.network_.encoder.map_shape[0] == 256
    assert method.gradient_images_ <= 6 * 16 * 4


def test_trials_are_judged_by_samples_that_no_method_has_seen(digits, monkeypatch):
    images, labels = digits
    learned, judged = [], []

    class Watched(Supervised):
        def _learn(self, session):
            learned.append(set(session.labeled.rows) | set(session.validation.rows))
            assert len(session.validation)
            return super()._learn(session)

    def right(session, network):
        judged.append(set(session.validation.rows))
        return right_answers(session, network)

    found = [Candidate("supervised", {}, "first"), Candidate("supervised", {"dropout": 0.1}, "second")]
    monkeypatch.setattr(auto, "candidates", lambda situation: found)
    monkeypatch.setattr(auto, "right_answers", right)
    monkeypatch.setitem(METHODS, "supervised", Watched)
    Auto(steps=8, guard=False, random_state=0).fit(images[:400], labels[:400])
    assert len(judged) == 4
    assert not any(seen & unseen for seen, unseen in zip(learned[:4], judged, strict=True))
    assert set.union(*judged[:2]) == set.union(*judged[2:])


@pytest.mark.parametrize(("better", "expected"), [(True, "supervised"), (False, "two-step-autoencoder")])
def test_another_candidate_is_taken_only_if_it_is_better_by_more_than_chance(digits, better, expected, monkeypatch):
    images, labels = digits
    X, y = images[:500], labels[:500].copy()
    y[400:] = -1
    # A first candidate that learns nothing, or nothing less than the other.
    first = {"learning_rate": 1e-9, "optimizer": "sgd"} if better else {}
    found = [
        Candidate("two-step-autoencoder", {"pretraining_steps": 2, **first}, "it comes first"),
        Candidate("supervised", {}, "it comes second"),
    ]
    monkeypatch.setattr(auto, "candidates", lambda situation: found)
    method = Auto(steps=80, trial_share=0.9, guard=False, random_state=0).fit(X, y)
    assert method.choice_["method"] == expected
    assert set(method.choice_["trials"]) == {"two-step-autoencoder", "supervised"}
    assert ("did better on labels" in method.choice_["because"][0]) is better
    # Eighteen steps for each half of both: a share of 0.9, over four.
    trials = [steps for stage, steps in method.stage_steps_.items() if "classifier" in stage and "trial" in stage]
    assert trials == [18] * 4


def test_few_labels_are_not_split_for_trials(few_labels):
    method = Auto(steps=10, guard=False, random_state=0).fit(*few_labels[:2])
    assert method.choice_["trials"] == {}
    assert not any("trial" in stage for stage in method.stage_steps_)


def test_a_budget_too_short_for_the_pool_goes_into_the_labels(few_labels):
    X, y, *_ = few_labels
    method = Auto(budget="2k images", random_state=0).fit(X, y)
    assert method.choice_["method"] == "supervised"
    assert any("auto chose supervised: in so little time" in finding for finding in findings(method))
    assert method.stage_steps_ == {"classifier": 2000 // 128}
    assert not hasattr(method, "guard_")


def test_trials_keep_within_a_budget(digits, monkeypatch):
    found = [Candidate(name, {}, "to be tried") for name in ("two-step-autoencoder", "joint-autoencoder")]
    monkeypatch.setattr(auto, "candidates", lambda situation: found)
    images, labels = digits
    y = labels.copy()
    y[500:] = -1
    method = Auto(budget="40k images", random_state=0).fit(images, y)
    assert set(method.choice_["trials"]) == {"two-step-autoencoder", "joint-autoencoder"}
    assert 30_000 < method.gradient_images_ <= 40_000 + 6 * 512
    assert hasattr(method, "guard_")


@pytest.mark.parametrize(
    ("chosen", "settings", "prefix"), [("uda", {}, ""), ("net-and-patches", {"net_method": "uda"}, "net.")]
)
def test_the_settings_are_those_that_the_chosen_method_learned_by(few_labels, monkeypatch, chosen, settings, prefix):
    X, y, *_ = few_labels
    found = [Candidate(chosen, {"preset": "short", **settings}, "asked for")]
    monkeypatch.setattr(auto, "candidates", lambda situation: found)
    told = Auto(steps=6, batch_size=16, guard=False, random_state=0).fit(X, y).settings_
    own = make_method("uda", preset="short", steps=6).resolved_settings()
    assert told["label_smoothing"] == own["label_smoothing"] != 0.1
    assert (told[f"{prefix}warm_start"], told["batch_size"], told["trial_share"]) == (own["warm_start"], 16, 0.2)


@pytest.mark.parametrize(
    ("chosen", "settings", "prefix"), [("sim-clr", {}, ""), ("net-and-patches", {"net_method": "sim-clr"}, "net.")]
)
def test_an_encoder_that_another_method_goes_on_from_is_guarded_told_and_saved(
    few_labels, monkeypatch, chosen, settings, prefix, tmp_path
):
    X, y, test, _ = few_labels
    found = [Candidate(chosen, {"preset": "short", **settings}, "asked for")]
    monkeypatch.setattr(auto, "candidates", lambda situation: found)
    method = Auto(steps=10, batch_size=16, random_state=0).fit(X, y)
    stages = ["encoder", "labeled samples alone", "classifier"]
    assert [stage for stage in method.stage_steps_ if "both" not in stage and "patches" not in stage] == stages
    assert method.guard_["accuracy"] is not None
    assert method.settings_[f"{prefix}classifier_method"] == "free-match"
    assert method.settings_[f"{prefix}classifier.warm_start"] == 0.2
    again = load(method.save(tmp_path / "model"))
    assert np.array_equal(again.predict_proba(test), method.predict_proba(test))


def test_labels_that_count_among_the_pool_make_it_no_larger(digits):
    images, labels = digits
    for settings in ({}, {"labeled_in_pool": True}):
        method = Auto(steps=5, guard=False, random_state=0, **settings)
        method.fit(images[:200], labels[:200], unlabeled=images[200:240])
        assert "the pool is less than half as large as the labels" in str(method.choice_["because"])


def test_the_choice_is_told_and_saved(few_labels, tmp_path):
    X, y, test, _ = few_labels
    method = Auto(steps=20, batch_size=16, net="fast-wide", random_state=0).fit(X, y)
    assert findings(method)[0].startswith(f"auto chose {method.choice_['method']}")
    again = load(method.save(tmp_path / "model"))
    assert isinstance(again, Auto)
    assert again.choice_ == method.choice_
    assert np.array_equal(again.predict_proba(test), method.predict_proba(test))
    card = (tmp_path / "model" / "README.md").read_text()
    assert method.choice_["method"] in card


@pytest.mark.filterwarnings("ignore::fewlabels.storage.errors.TrainingWarning")
def test_in_a_short_time_a_coarse_net_is_taken_unless_one_is_asked_for(color_images):
    X, y = color_images
    X = np.repeat(np.repeat(X, 2, axis=1), 2, axis=2)
    found = [Auto(budget="1s", random_state=0, **net).fit(X, y) for net in ({}, {"net": "notebook"}, {"net": "fast"})]
    assert [method.choice_["settings"] for method in found] == [{"net": "fast-coarse"}, {}, {}]
    assert found[0].network_.encoder.stem.stride == (2, 2)
    assert found[2].network_.encoder.stem.stride == (1, 1)


def test_features_of_a_pretrained_net_are_learned_from_as_such(color_images, tmp_path):
    pytest.importorskip("transformers")
    X, y = color_images
    y = y.copy()
    y[12:] = -1
    method = Auto(net=tiny_dinov2(tmp_path / "net"), random_state=0).fit(X, y)
    assert method.choice_["method"] == "self-training"
    assert any("pretrained net" in finding for finding in findings(method))
    again = load(method.save(tmp_path / "model"))
    assert np.array_equal(again.predict_proba(X), method.predict_proba(X))
    assert (
        Auto(net=tiny_dinov2(tmp_path / "net"), random_state=0).fit(X[:12], y[:12]).choice_["method"] == "linear-probe"
    )


def test_on_vectors_trials_are_whole_trainings(digits):
    images, labels = digits
    y = labels.copy()
    y[500:] = -1
    method = Auto(net="linear", random_state=0).fit(images.reshape(len(images), -1), y)
    assert set(method.choice_["trials"]) == {"self-training", "ensemble-labels", "linear-probe"}
    assert min(method.choice_["trials"].values()) > 0.8


def test_what_was_chosen_for_its_settings_has_them_however_long_the_training():
    method = Auto(preset="auto", steps=100_000)._with_settings(Candidate("uda", {"preset": "short"}, ""))
    assert (method.threshold, method.unlabeled_ratio) == (0.0, 2.0)


def test_a_pretrained_net_that_is_trained_further_is_given_no_decoder(color_images):
    X, y = color_images
    y = y.copy()
    y[20:] = -1
    method = make_method("auto", net=Colors(), freeze=False, steps=2, batch_size=4, random_state=0).fit(X, y)
    assert method.choice_["method"] == "self-training"


def test_the_guard_looks_at_the_gradients_of_the_method_that_was_chosen(few_labels, monkeypatch):
    X, y, *_ = few_labels
    found = [Candidate("fix-match", {"threshold": 0.0, "unlabeled_ratio": 1.0}, "asked for")]
    monkeypatch.setattr(auto, "candidates", lambda situation: found)
    method = Auto(steps=4, batch_size=16, random_state=0).fit(X, y)
    assert method.guard_["pool_steps"] == 4


def test_whoever_watches_trials_is_told_of_all_stages_from_the_start(digits, monkeypatch):
    images, labels = digits
    found = [Candidate("supervised", {}, "first"), Candidate("pi-model", {}, "second")]
    monkeypatch.setattr(auto, "candidates", lambda situation: found)
    told = []
    Auto(steps=4, batch_size=16, guard=False, random_state=0).fit(images[:400], labels[:400], observer=told.append)
    # Two halves for each candidate, and the training itself.
    assert {event["stage_count"] for event in told} == {2 * 2 + 1}
