"""Net and patches: the answer is the geometric mean of two calibrated ones, and the net is that of the labels alone."""

from functools import partial

import numpy as np
import pytest
import torch
from ruined import ruined
from scipy.special import softmax

from fewlabels import METHODS, InputError, TrainingWarning, load, make_method
from fewlabels.methods import UDA, FreeMatch, KMeansFeatures, NetAndPatches, Supervised
from fewlabels.methods.choices import choices
from fewlabels.methods.findings import findings
from fewlabels.methods.net_and_patches import chosen_share
from fewlabels.methods.prediction import logits_and_features
from fewlabels.nets import Classifier, registry
from fewlabels.nets.fast import FastNet
from fewlabels.nets.joined import joined
from fewlabels.nets.registry import build_classifier
from fewlabels.training.batches import Rows
from fewlabels.training.calibration import best_temperature
from small_backbones import colors

pytestmark = pytest.mark.usefixtures("narrow_net")

NO_NET = {"auto", "kmeans-features", "net-and-patches", "linear-probe", "prototypes"}
NET_METHODS = [name for name in METHODS if name not in NO_NET]
BRIEF = {"centroids": 40, "patches": 2000, "steps": 40, "batch_size": 32, "random_state": 0}


@pytest.fixture
def fitted(digits):
    images, labels = digits
    return NetAndPatches(**BRIEF).fit(images[:200], labels[:200], unlabeled=images[200:800])


def alone(method, which):
    """Return one of the two, as a classifier of its own."""
    network = method.network_
    part = Classifier(getattr(network.encoder, which), getattr(network.head, which), len(network.mean))
    part.mean.copy_(network.mean)
    part.std.copy_(network.std)
    return part.eval()


def logits(classifier, images):
    with torch.inference_mode():
        # As they are stored: in bytes.
        return classifier(torch.from_numpy(np.round(images * 255) / 255).float().unsqueeze(1)).numpy()


def test_the_answer_is_the_geometric_mean_of_two_that_are_calibrated(fitted, digits):
    images, labels = digits
    held_out = fitted.validation_rows_
    assert len(held_out) == 20
    both = [logits(alone(fitted, which), images[800:900]) for which in ("first", "second")]
    shares = {"first": 1 - fitted.patch_share_, "second": fitted.patch_share_}
    expected = np.zeros_like(both[0])
    for found, (which, share) in zip(both, shares.items(), strict=True):
        # What a part says is its share times calibrated logits.
        calibrated = logits(alone(fitted, which), images[held_out]) / share
        assert best_temperature(calibrated, labels[held_out]) == pytest.approx(1, abs=0.02)
        expected += share * np.log(softmax(found / share, axis=1))
    expected = softmax(expected / fitted.temperature_, axis=1)
    assert np.allclose(fitted.predict_proba(images[800:900]), expected, atol=1e-4)


def test_the_better_the_net_the_less_the_patches_have_to_say():
    draws = np.random.default_rng(0)
    labels = draws.integers(0, 5, 400)

    def opinion(signal):
        return draws.normal(size=(400, 5)) + signal * np.eye(5)[labels]

    patches = opinion(1.0)
    shares = [chosen_share(opinion(signal), patches, labels) for signal in (0.0, 1.0, 3.0)]
    assert shares[0] > 0.55 > shares[1] > 0.35 > shares[2]
    # Few samples tell little.
    assert chosen_share(opinion(0.0)[:4], patches[:4], labels[:4]) == pytest.approx(0.4, abs=0.1)


def test_the_share_is_told_and_saved(fitted, tmp_path):
    (told,) = [row for row in choices(fitted) if row["choice"] == "share of the patches in the answer"]
    assert told["result"] == f"{fitted.patch_share_:.0%}"
    assert told["looked_at"] == "20 held-out images"
    fitted.save(tmp_path / "model")
    assert load(tmp_path / "model").patch_share_ == fitted.patch_share_


@pytest.mark.parametrize(("share", "which"), [(0.0, "first"), (1.0, "second")])
def test_the_whole_answer_can_be_that_of_one(share, which, digits):
    images, labels = digits
    method = NetAndPatches(patch_share=share, **BRIEF).fit(images[:200], labels[:200])
    own = logits(alone(method, which), images[300:400])
    assert np.array_equal(method.predict(images[300:400]), own.argmax(1))


def test_the_patches_are_those_of_kmeans_features(digits):
    images, labels = digits
    settings = {"centroids": 40, "patches": 2000, "random_state": 0}
    patches = KMeansFeatures(**settings).fit(images[:200], labels[:200], unlabeled=images[200:800])
    both = NetAndPatches(patch_share=1.0, steps=2, **settings)
    both.fit(images[:200], labels[:200], unlabeled=images[200:800])
    assert both.penalty_ == patches.penalty_
    assert torch.equal(both.network_.encoder.second.centroids, patches.network_.encoder.centroids)
    assert np.array_equal(both.predict(images[800:]), patches.predict(images[800:]))


@pytest.mark.filterwarnings("ignore:no labeled sample of:fewlabels.storage.errors.TrainingWarning")
def test_with_few_labels_both_together_are_better_than_either(digits, monkeypatch):
    images, labels = digits
    # A small net that errs about as often as the patches do.
    monkeypatch.setitem(registry._ENCODERS, "fast", partial(FastNet, widths=(16, 32)))
    settings = {"random_state": 0, "validation_fraction": 0.2}
    scores = []
    # Of three draws the means are so near that rounding decides.
    for seed in range(8):
        rows = np.random.default_rng(seed).permutation(len(images))
        train, pool, test = rows[:60], rows[60:900], rows[900:]
        methods = (
            Supervised(steps=40, batch_size=32, **settings),
            KMeansFeatures(centroids=60, patches=4000, **settings),
            NetAndPatches(steps=40, batch_size=32, centroids=60, patches=4000, **settings),
        )
        fitted = [method.fit(images[train], labels[train], unlabeled=images[pool]) for method in methods]
        scores.append([method.score(images[test], labels[test]) for method in fitted])
    net, patches, both = np.mean(scores, axis=0)
    assert both > max(net, patches)


def test_weights_that_were_kept_of_the_net_are_kept_of_both(digits):
    images, labels = digits
    method = NetAndPatches(ema_decay=0.9, **BRIEF).fit(images[:200], labels[:200])
    assert set(method.kept_weights_) >= {"last", "average"}
    last, average = (method.with_weights(name) for name in ("last", "average"))
    assert not np.array_equal(last.predict_proba(images[:50]), average.predict_proba(images[:50]))
    # The patches are the same in both.
    assert torch.equal(last.network_.head.second.weight, average.network_.head.second.weight)


def test_the_features_are_the_nets(fitted, digits):
    """Where a sample lies among others is not for patches to say: their features are ten times as many."""
    images = digits[0][800:820]
    features = fitted.transform(images)
    assert features.shape == (20, len(fitted.get_feature_names_out()))
    net = alone(fitted, "first")
    with torch.inference_mode():
        expected = net.features(torch.from_numpy(np.round(images * 255) / 255).float().unsqueeze(1))
    assert np.allclose(features, expected.numpy(), atol=1e-5)
    rows = Rows([np.round(images[..., np.newaxis] * 255).astype(np.uint8)])
    _, embeddings = logits_and_features(fitted.network_, rows, torch.device("cpu"))
    assert np.allclose(embeddings, features, atol=1e-5)


def test_a_saved_model_predicts_the_same(fitted, digits, tmp_path):
    fitted.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert np.array_equal(again.predict_proba(digits[0][800:]), fitted.predict_proba(digits[0][800:]))


@pytest.mark.parametrize("name", NET_METHODS)
def test_the_net_is_what_its_method_makes_of_it(name, few_labels, tmp_path):
    """And answers with the patches, also when the model was saved."""
    X, y, test, _ = few_labels
    settings = {"steps": 6, "batch_size": 16, "preset": "auto", "random_state": 0}
    method = NetAndPatches(net_method=name, centroids=10, patches=500, **settings).fit(X, y)
    own = make_method(name, **settings).fit(X, y)
    net_stages = list(method.stage_steps_)[2:-1]
    assert net_stages == list(own.stage_steps_)
    assert list(method.network_.encoder.first.state_dict()) == list(own.network_.encoder.state_dict())
    assert method.settings_["net_method"] == name
    both = logits(alone(method, "first"), test) + logits(alone(method, "second"), test)
    assert np.array_equal(method.predict(test), both.argmax(1))
    method.save(tmp_path / "model")
    assert np.array_equal(load(tmp_path / "model").predict_proba(test), method.predict_proba(test))


def test_the_guard_guards_the_net(few_labels):
    X, y, test, truth = few_labels
    method = NetAndPatches(net_method="uda", guard=True, **BRIEF).fit(X, y)
    assert method.guard_["pool_steps"] > 0
    assert list(method.stage_steps_)[:2] == ["typical patches", "classifier of patches"]
    assert method.score(test, truth) > 0.5


def test_a_pool_that_is_held_back_from_the_net_still_gives_patches(few_labels):
    X, y, *_ = few_labels
    settings = BRIEF | {"steps": None, "budget": "1k images"}
    with pytest.warns(TrainingWarning, match="the net learned from the labels alone: uda needs a longer one"):
        method = NetAndPatches(net_method="uda", guard=True, **settings).fit(X, y)
    assert not hasattr(method, "guard_")
    assert list(method.stage_steps_) == ["typical patches", "classifier of patches", "labeled samples alone", "both"]


def test_a_net_that_falls_back_on_the_labels_still_has_patches_of_the_pool(few_labels, monkeypatch, tmp_path):
    monkeypatch.setitem(METHODS, "uda", ruined(UDA))
    X, y, *_ = few_labels
    told = "the pool did harm to the net by uda.*% on held-out images against .* the patches learned from the pool"
    with pytest.warns(TrainingWarning, match=told):
        method = NetAndPatches(net_method="uda", preset="short", guard=True, validation_fraction=0.4, **BRIEF).fit(X, y)
    assert not hasattr(method, "guard_")
    assert not any("the result is what the labels alone gave" in finding for finding in findings(method))
    card = (method.save(tmp_path / "model") / "README.md").read_text()
    assert f"{method.n_labeled_} labeled and {method.n_pool_} unlabeled samples" in card


def test_a_net_that_falls_back_on_a_pretrained_encoder_is_not_said_to_have_the_labels_alone(few_labels, monkeypatch):
    monkeypatch.setitem(METHODS, "free-match", ruined(FreeMatch))
    X, y, *_ = few_labels
    told = "the net is what the labels alone gave after pretraining on the pool, .*% on held-out images"
    with pytest.warns(TrainingWarning, match=told):
        NetAndPatches(net_method="sim-clr", preset="short", guard=True, validation_fraction=0.4, **BRIEF).fit(X, y)


@pytest.mark.parametrize(("name", "hint"), [("ufa", "did you mean 'uda'"), ("linear-probe", "known: supervised")])
def test_what_trains_no_net_is_refused(name, hint, color_images):
    with pytest.raises(InputError, match=f"net_method='{name}' is no method that trains a net.*{hint}"):
        NetAndPatches(net_method=name).fit(*color_images)


def test_settings_that_all_methods_share_are_the_nets_too():
    with pytest.raises(InputError, match="unknown preset 'short'"):
        make_method("supervised", preset="short").check_settings()
    method = NetAndPatches(net_method="uda", preset="short", steps=3, batch_size=4, dropout=0.5)
    own = method._of_net()
    assert (own.threshold, own.batch_size, own.dropout) == (UDA.PRESETS["short"]["threshold"], 4, 0.5)


def test_the_settings_are_those_that_the_net_learned_by(few_labels, tmp_path):
    X, y, *_ = few_labels
    settings = BRIEF | {"steps": 6, "preset": "short"}
    method = NetAndPatches(net_method="uda", **settings).fit(X, y)
    own = UDA(preset="short", steps=6, batch_size=32).resolved_settings()
    told = method.settings_
    assert (told["label_smoothing"], told["view"]) == (own["label_smoothing"], own["view"]) != (0.1, "medium")
    assert (told["net.warm_start"], told["net.threshold"]) == (own["warm_start"], own["threshold"])
    # What both have under one name is of the patches.
    masked = NetAndPatches(net_method="masked-autoencoder", **BRIEF | {"steps": 2}).fit(X, y).settings_
    assert (masked["patch"], masked["net.patch"]) == (method.patch, 4)
    card = (method.save(tmp_path / "model") / "README.md").read_text()
    assert f"| net.warm_start | {own['warm_start']} |" in card
    assert load(tmp_path / "model").settings_ == told


def test_where_the_labels_alone_are_learned_the_settings_are_theirs(few_labels):
    X, y, *_ = few_labels
    settings = BRIEF | {"steps": None, "budget": "1k images"}
    with pytest.warns(TrainingWarning, match="the net learned from the labels alone"):
        method = NetAndPatches(net_method="uda", guard=True, **settings).fit(X, y)
    assert (method.settings_["view"], method.settings_["label_smoothing"]) == ("medium", 0.1)


@pytest.mark.usefixtures("whole_net")
def test_a_budget_of_time_is_for_both(color_images):
    X, y = color_images
    method = NetAndPatches(centroids=10, patches=500, budget="3s", random_state=0).fit(X, y)
    assert list(method.stage_steps_) == ["typical patches", "classifier of patches", "classifier", "both"]
    # Without a limit it would be 500 steps; beside other work there is time for few.
    assert 0 < method.stage_steps_["classifier"] < 500


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_out_of_range_is_refused(share, color_images):
    with pytest.raises(InputError, match="patch_share="):
        NetAndPatches(patch_share=share).fit(*color_images)


def test_a_pretrained_net_is_not_trained_further(color_images):
    with pytest.raises(InputError, match="trains a net from random weights"):
        NetAndPatches(net=colors(), freeze=False, **BRIEF).fit(*color_images)


def test_joined_classifiers_add_their_logits():
    first, second = (build_classifier("auto", (8, 8, 1), 3).eval() for _ in range(2))
    inputs = torch.rand(4, 1, 8, 8)
    both = joined(first, second)
    assert torch.allclose(both(inputs), first(inputs) + second(inputs), atol=1e-5)
    assert both.encoder.feature_size == both.features(inputs).shape[1] == 2 * first.encoder.feature_size
    assert torch.allclose(both.classify_map(both.feature_map(inputs)), both(inputs))
