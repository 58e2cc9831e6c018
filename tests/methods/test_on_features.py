"""Methods on features: the probe and its penalty, prototypes by hand, the mean opinion, and views of vectors."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from fewlabels import InputError, make_method
from fewlabels.data import FeatureRows
from fewlabels.methods import EnsembleLabels, ensemble_labels
from fewlabels.methods.ensemble_labels import top_of_each_class
from fewlabels.methods.graph import NeighborGraph
from fewlabels.methods.linear import PENALTIES, choose_penalty, fit_linear
from fewlabels.methods.prototypes import class_sums, left_out_logits, unit
from fewlabels.methods.rungs import RUNGS, check_rungs, possible_rungs
from fewlabels.views import VectorViews


@pytest.fixture(scope="module")
def clusters():
    """Features of five classes, and their labels."""
    draws = np.random.default_rng(0)
    truth = draws.integers(5, size=600)
    centers = draws.standard_normal((5, 40))
    values = centers[truth] + 1.9 * draws.standard_normal((600, 40))
    return values.astype(np.float32), truth


def fitted(name, clusters, **settings):
    values, truth = clusters
    labeled = np.concatenate([np.flatnonzero(truth == label)[:6] for label in range(5)])
    pool = np.setdiff1d(np.arange(400), labeled)
    method = make_method(name, random_state=0, **settings)
    method.fit(FeatureRows(values, labeled), truth[labeled], unlabeled=FeatureRows(values, pool))
    return method, method.score(FeatureRows(values, np.arange(400, 600)), truth[400:])


def test_the_regression_is_scikit_learns_also_where_it_takes_the_short_way():
    draws = np.random.default_rng(0)
    features, labels = draws.standard_normal((12, 30)), np.arange(12) % 3
    weights, bias = fit_linear(features, labels, 3, 0.5)
    own = LogisticRegression(C=1 / (12 * 30 * 0.5 / 1000), max_iter=2000, tol=1e-8).fit(features, labels)
    assert np.allclose(softmax(features @ weights.T + bias, 1), own.predict_proba(features), atol=1e-3)


def test_two_classes_and_missing_ones_get_logits_for_all():
    draws = np.random.default_rng(0)
    features, labels = draws.standard_normal((10, 4)), np.array([1, 3] * 5)
    weights, bias = fit_linear(features, labels, 4, 0.1)
    probabilities = softmax(features @ weights.T + bias, 1)
    # scikit-learn has one weight w for two classes, where there are -w/2 and w/2 here, whose squares are half of w's.
    own = LogisticRegression(C=2 / (10 * 4 * 0.1 / 1000), max_iter=1000, tol=1e-8).fit(features, labels)
    assert np.allclose(probabilities[:, [1, 3]], own.predict_proba(features), atol=1e-3)
    assert probabilities[:, [0, 2]].max() < 1e-9


@pytest.mark.parametrize("classes", [2, 3])
def test_at_the_minimum_of_loss_and_penalty_nothing_pulls_at_the_weights(classes):
    draws = np.random.default_rng(0)
    features, labels = draws.standard_normal((60, 5)), np.arange(60) % classes
    weights, bias = fit_linear(features, labels, classes, 20.0)
    off = softmax(features @ weights.T + bias, 1) - np.eye(classes)[labels]
    assert np.abs(off.T @ features / 60 + 5 * 20.0 / 1000 * weights).max() < 1e-3
    assert np.abs(weights).max() > 0.05


def test_of_shares_that_are_taken_off_the_calibration_knows_and_prototypes_hold_none(clusters):
    values, truth = clusters
    chosen = np.concatenate([np.flatnonzero(truth == label)[: 4 + 12 * label] for label in range(5)])

    def fit(name, strength):
        return make_method(name, random_state=0, logit_adjustment=strength).fit(values[chosen], truth[chosen])

    assert fit("linear-probe", 1.0).temperature_ != fit("linear-probe", 0.0).temperature_
    plain, adjusted = (fit("prototypes", strength).predict_proba(values[300:]) for strength in (0.0, 1.0))
    assert np.array_equal(plain, adjusted)


@pytest.mark.parametrize("name", ["linear-probe", "prototypes"])
def test_what_learned_no_mirrored_images_is_asked_about_none(name, digits):
    images, labels = digits
    color = np.repeat(images[..., None] if images.ndim == 3 else images, 3, 3)[:300]
    default = make_method(name, random_state=0).fit(color[:100], labels[:100])
    without = make_method(name, random_state=0, flip=False).fit(color[:100], labels[:100])
    assert default.mirrors_ is False
    assert np.array_equal(default.predict_proba(color[100:]), without.predict_proba(color[100:]))


def test_the_penalty_is_strong_where_features_say_little():
    draws = np.random.default_rng(0)
    labels = np.arange(60) % 2
    clear = np.sign(labels - 0.5)[:, None] * np.ones((60, 50)) + 0.1 * draws.standard_normal((60, 50))
    nothing = draws.standard_normal((60, 50))
    weak, folds = choose_penalty(clear, labels, 2, seed=0)
    strong, _ = choose_penalty(nothing, labels, 2, seed=0)
    assert weak in PENALTIES
    assert strong >= 0.3
    assert weak < strong
    assert (folds.argmax(1) == labels).all()


def test_with_one_label_a_class_a_penalty_is_assumed():
    assert choose_penalty(np.eye(3), np.arange(3), 3, seed=0)[1] is None
    values = np.eye(6, dtype=np.float32)
    method = make_method("linear-probe").fit(values[:3], [0, 1, 2], unlabeled=values[3:])
    assert list(method.predict(values[:3])) == [0, 1, 2]


def test_the_probe_is_calibrated_on_its_folds(clusters):
    method, _ = fitted("linear-probe", clusters, validation_fraction=0.0)
    values, truth = clusters
    proba = method.predict_proba(FeatureRows(values, np.arange(400, 600)))
    sure, right = proba.max(1).mean(), (proba.argmax(1) == truth[400:]).mean()
    assert abs(sure - right) < 0.1
    assert method.penalty_ in PENALTIES
    assert fitted("linear-probe", clusters, penalty=0.7)[0].penalty_ == 0.7


def test_a_penalty_that_is_given_is_calibrated_as_it_is(clusters):
    # Under a strong one all probabilities are near each other, unless the temperature knows of it.
    method, _ = fitted("linear-probe", clusters, validation_fraction=0.0, penalty=100.0)
    values, truth = clusters
    proba = method.predict_proba(FeatureRows(values, np.arange(400, 600)))
    sure, right = proba.max(1).mean(), (proba.argmax(1) == truth[400:]).mean()
    assert abs(sure - right) < 0.2


def test_prototypes_by_hand():
    features = unit(np.array([[1.0, 0], [1, 1], [0, 1], [0, 2]]))
    labels = np.array([0, 0, 1, 1])
    sums = class_sums(features, labels, 2)
    assert np.allclose(sums, [features[0] + features[1], [0, 2]])
    logits = left_out_logits(features, labels, sums)
    assert logits[0, 0] == pytest.approx(10 * features[0] @ features[1]), "without the sample itself"
    assert logits[0, 1] == pytest.approx(0)
    assert logits[2, 1] == pytest.approx(10)


def test_the_pool_moves_prototypes_by_its_weight(clusters):
    still, _ = fitted("prototypes", clusters, rounds=0)
    weightless, _ = fitted("prototypes", clusters, rounds=2, pool_weight=0.0)
    moved, _ = fitted("prototypes", clusters, rounds=2, pool_weight=1.0)
    assert torch.allclose(still.network_.head.weight, weightless.network_.head.weight)
    assert not torch.allclose(still.network_.head.weight, moved.network_.head.weight)


def test_what_the_pool_brings_on_features(clusters):
    _, probe = fitted("linear-probe", clusters)
    _, ensemble = fitted("ensemble-labels", clusters)
    assert probe > 0.5
    assert ensemble > probe + 0.02


def test_the_ensembles_labels_are_those_of_the_mean_opinion(clusters, monkeypatch):
    seen, original = [], EnsembleLabels._opinions

    def kept(self, *arguments):
        found = original(self, *arguments)
        seen.append(found[0])
        return found

    monkeypatch.setattr(EnsembleLabels, "_opinions", kept)
    method, _ = fitted("ensemble-labels", clusters, top_share=0.5)
    (opinions,) = seen
    assert len(opinions) == 3
    assert all(np.allclose(opinion.sum(1), 1) for opinion in opinions)
    mean = np.mean(opinions, axis=0)
    pseudo = method.round_pseudo_labels_[0]
    taken = pseudo >= 0
    assert np.array_equal(pseudo[taken], mean.argmax(1)[taken])
    for label in range(5):
        own = mean.argmax(1) == label
        assert taken[own].sum() == round(0.5 * own.sum())
        if 0 < taken[own].sum() < own.sum():
            assert mean.max(1)[own & taken].min() >= mean.max(1)[own & ~taken].max()


@pytest.mark.usefixtures("narrow_net")
def test_on_images_the_net_is_one_of_the_teachers(few_labels):
    X, y, test, truth = few_labels
    method = make_method("ensemble-labels", steps=60, random_state=0).fit(X, y)
    assert method.score(test, truth) > 0.6
    # Of each guessed class, to a whole sample.
    rounding = 0.5 * len(method.classes_) / (y == -1).sum()
    assert method.rounds_[0]["pool_share"] == pytest.approx(0.8, abs=rounding)
    assert method.top_share is None


@pytest.mark.usefixtures("narrow_net")
def test_with_nothing_held_out_the_teachers_are_calibrated_on_labeled_images_left_out(few_labels):
    X, y, test, truth = few_labels
    method = make_method("ensemble-labels", steps=60, validation_fraction=0.0, random_state=0).fit(X, y)
    assert method.n_validation_ == 0
    assert method.score(test, truth) > 0.6


@pytest.mark.filterwarnings("ignore:.*the net puts every image into the same class")
def test_no_teacher_is_surer_than_held_out_images_say(monkeypatch):
    """Of images of noise the net knows those it learned from by heart, and no others."""
    seen, original = [], ensemble_labels.EnsembleLabels._opinions

    def kept(self, *arguments):
        found = original(self, *arguments)
        seen.extend(found[0])
        return found

    monkeypatch.setattr(ensemble_labels.EnsembleLabels, "_opinions", kept)
    X, y = np.random.default_rng(0).random((240, 12, 12, 3), np.float32), np.arange(240) % 2
    y[120:] = -1
    settings = {"steps": 60, "batch_size": 32, "validation_fraction": 0.3, "random_state": 0}
    make_method("ensemble-labels", **settings).fit(X, y)
    assert [opinion.max(1).mean() < 0.65 for opinion in seen] == [True] * 3


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("linear-probe", {"penalty": 0}, "penalty=0"),
        ("prototypes", {"pool_weight": -1}, "pool_weight=-1"),
        ("ensemble-labels", {"student_penalty": 0}, "student_penalty=0"),
        ("ensemble-labels", {"alpha": 1.0}, "alpha=1.0"),
        ("supervised", {"feature_dropout": 1.0}, "feature_dropout=1.0"),
        ("supervised", {"feature_views": 0}, "feature_views=0"),
        ("supervised", {"layer_decay": 0}, "layer_decay=0"),
        ("supervised", {"net": "hf:x"}, "reads images, and these are vectors"),
        ("linear-probe", {"net": "hf:x"}, "reads images, and these are vectors"),
        ("linear-probe", {"net": "facebook/dinov2-small"}, "did you mean 'hf:facebook/dinov2-small'"),
        ("prototypes", {"net": "fats"}, "unknown net 'fats'; did you mean 'fast'"),
        ("kmeans-features", {"net": "module"}, "unknown net 'module'"),
        ("supervised", {"net": {}}, "unknown net {}"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(name, settings, message):
    with pytest.raises(InputError, match=message):
        make_method(name, **settings).fit(np.eye(4), [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X": [np.zeros((8, 8)), np.zeros((8, 9))], "y": [0, 1]}, r"several shapes, \(8, 8\) and \(8, 9\)"),
        ({"X": ["a.png", "b.png"], "y": [0, 1]}, r"holds 'a.png', text or a path; fewlabels.load_dataset\(folder\)"),
        ({"X": "a.png", "y": [0, 1]}, "X holds 'a.png', text or a path"),
        ({"X": np.eye(4), "y": [0, 1, 0, 1], "validation": (np.eye(4), [-1] * 4)}, "validation: no sample has a label"),
        (
            {"X": np.eye(4), "y": [0, 1, 0, 1], "validation": (np.eye(4), [0, 1, 0, 9])},
            "validation: label 9 is not one",
        ),
        ({"X": iter(np.eye(4)), "y": [0, 1, 0, 1]}, "give an array or a list"),
        (
            {"X": np.eye(4), "y": [0, 1, 0, 1], "unlabeled": iter(np.eye(4))},
            "unlabeled is a .*; give an array or a list",
        ),
    ],
)
def test_samples_that_are_no_array_are_refused_with_what_to_do(given, message):
    with pytest.raises(InputError, match=message):
        make_method("supervised", steps=1).fit(**given)


def test_labels_of_a_validation_part_may_be_a_column():
    method = make_method("supervised", steps=1, random_state=0)
    method.fit(np.eye(4), [0, 1, 0, 1], validation=(np.eye(4), np.array([[0], [1], [0], [1]])))
    assert method.n_validation_ == 4


@pytest.mark.parametrize("name", ["linear-probe", "prototypes", "kmeans-features"])
def test_what_trains_no_net_refuses_to_train_one_further(name, few_labels):
    X, y, *_ = few_labels
    with pytest.raises(InputError, match="trains no net, so freeze=False has no meaning"):
        make_method(name, net=torch.nn.Flatten(), freeze=False).fit(X, y)


def test_a_budget_of_time_counts_the_pass_through_a_frozen_net(few_labels):
    class Frozen(torch.nn.Module):
        def __init__(self, seconds):
            super().__init__()
            self.seconds = seconds
            self.layer = torch.nn.Conv2d(3, 4, 3)

        def forward(self, images):
            time.sleep(self.seconds)
            return self.layer(images).mean((2, 3))

    X, y, *_ = few_labels
    slow, fast = (
        make_method("supervised", net=Frozen(seconds), budget="2s", batch_size=8, random_state=0).fit(X, y)
        for seconds in (2.0, 0.0)
    )
    assert slow.fit_seconds_ >= 2
    # What is left of the time after the pass is for training: here nothing.
    assert slow.n_iter_ < 10 < fast.n_iter_


def test_views_draw_one_of_the_stored_ones():
    stored = torch.arange(12.0).view(2, 6)
    views = VectorViews(torch.Generator().manual_seed(0), scale=torch.ones(2), noise=0.0, views=3)
    assert torch.equal(views.plain(stored), stored[:, :2])
    drawn = torch.stack([views.weak(stored) for _ in range(60)])
    for row in (0, 1):
        expected = {tuple(pair.tolist()) for pair in stored[row].view(3, 2)}
        assert {tuple(pair.tolist()) for pair in drawn[:, row]} == expected


def test_strong_views_drop_to_the_mean_and_mix():
    generator = torch.Generator().manual_seed(0)
    center = torch.tensor([5.0, 6.0])
    dropped = VectorViews(generator, scale=torch.ones(2), noise=0.0, center=center, dropout=0.5)
    found = dropped.strong(torch.zeros(400, 2))
    assert set(found.unique().tolist()) == {0.0, 5.0, 6.0}
    assert (found != 0).float().mean() == pytest.approx(0.5, abs=0.1)
    mixed = VectorViews(generator, scale=torch.ones(1), noise=0.0, mixup=0.4).strong(torch.tensor([[0.0], [1.0]] * 200))
    assert mixed[::2].max() <= 0.4
    assert mixed[1::2].min() >= 0.6
    assert mixed[::2].max() > 0.3
    assert torch.equal(mixed, mixed.clamp(0, 1))


def test_which_rungs_are_possible():
    assert [name for name, against in possible_rungs(net="hf:x").items() if not against] == list(RUNGS)
    assert [name for name, against in possible_rungs().items() if not against] == ["scratch"]
    assert "no images" in possible_rungs(is_features=True)["scratch"]
    assert [rung.name for rung in check_rungs(["scratch", "probe"], net="hf:x")] == ["probe", "scratch"]
    assert [rung.name for rung in check_rungs("all", is_features=True)] == ["probe", "features"]
    with pytest.raises(InputError, match="did you mean 'finetune'"):
        check_rungs(["fine-tune"], net="hf:x")
    with pytest.raises(InputError, match="no pretrained net is given"):
        check_rungs(["probe"])


@pytest.mark.parametrize("name", ["linear-probe", "prototypes", "auto"])
def test_prediction_sets_go_by_the_temperature_that_probabilities_have(name, clusters):
    values, truth = clusters
    method = make_method(name, random_state=0)
    held_out = FeatureRows(values, np.arange(400, 500))
    # No pool: Auto takes the probe.
    labeled = FeatureRows(values, np.arange(40))
    method.fit(labeled, truth[:40], validation=(held_out, truth[400:500]))
    right = method.predict_proba(held_out)[np.arange(100), truth[400:500]]
    assert np.allclose(np.sort(method.conformal_scores_), np.sort(1 - right), atol=1e-4)
    assert method.kept_weights_["last"].temperature == method.temperature_
    assert float(method.network_.temperature) == pytest.approx(method.temperature_)
    assert np.array_equal(method.with_weights("last").predict_proba(held_out), method.predict_proba(held_out))


def test_auto_calibrates_a_probe_as_the_probe_itself_does(clusters):
    values, truth = clusters
    rows = FeatureRows(values, np.arange(40))
    chosen, probe = (make_method(name, random_state=0).fit(rows, truth[:40]) for name in ("auto", "linear-probe"))
    assert chosen.choice_["method"] == "linear-probe"
    assert chosen.temperature_ == probe.temperature_ != 1


def test_the_mean_opinion_is_of_the_teachers_and_the_last_student(clusters, monkeypatch):
    opinions, seen = [], []

    def recorded(logits, axis):
        opinions.append(softmax(logits, axis=axis))
        return opinions[-1]

    def asked(confidences, guesses, share):
        seen.append(confidences)
        return top_of_each_class(confidences, guesses, share)

    monkeypatch.setattr(ensemble_labels, "softmax", recorded)
    monkeypatch.setattr(ensemble_labels, "top_of_each_class", asked)
    # Without the graph there are two teachers; with all shrinking they are not moved to other shares of classes.
    fitted("ensemble-labels", clusters, rounds=4, graph_samples=100, prior_shrink=1.0)
    assert len(opinions) == 2 + 4
    for number, confidences in enumerate(seen):
        students = opinions[1 + number : 2 + number] if number else []
        assert np.allclose(confidences, np.mean([*opinions[:2], *students], axis=0).max(1))


def test_samples_count_by_their_weights():
    draws = np.random.default_rng(0)
    features, labels = draws.standard_normal((30, 4)), np.arange(30) % 3
    times = draws.integers(1, 5, 30)
    weighted = fit_linear(features, labels, 3, 20.0, times.astype(float))
    # A sample of a weight of three is as good as three such samples.
    repeated = fit_linear(np.repeat(features, times, axis=0), np.repeat(labels, times), 3, 20.0)
    for one, other in zip(weighted, repeated, strict=True):
        assert np.allclose(one, other, atol=2e-3)
    assert not np.allclose(weighted[0], fit_linear(features, labels, 3, 20.0)[0], atol=2e-2)


def test_the_ensembles_student_weighs_labels_and_guesses(clusters, monkeypatch):
    confidences, weights = [], []

    def asked(sure, guesses, share):
        confidences.append(sure)
        return top_of_each_class(sure, guesses, share)

    def learned(features, labels, classes, penalty, sample_weights=None):
        weights.append(sample_weights)
        return fit_linear(features, labels, classes, penalty, sample_weights)

    monkeypatch.setattr(ensemble_labels, "top_of_each_class", asked)
    monkeypatch.setattr(ensemble_labels, "fit_linear", learned)
    method, _ = fitted("ensemble-labels", clusters, labeled_weight=5.0, top_share=0.5)
    taken = method.round_pseudo_labels_[0] >= 0
    assert (weights[-1][: method.n_labeled_] == 5).all()
    assert np.allclose(weights[-1][method.n_labeled_ :], confidences[0][taken])


def test_opinions_are_moved_to_the_classes_that_the_pool_is_estimated_to_have():
    probabilities = np.array([[0.5, 0.5], [0.9, 0.1]])
    session = SimpleNamespace(
        class_counts=lambda: np.array([3, 1]), quality=SimpleNamespace(prior=np.array([0.25, 0.75]))
    )
    moved = probabilities * [0.25 / 0.75, 0.75 / 0.25]
    found = EnsembleLabels()._moved(probabilities, session)
    assert np.allclose(found, moved / moved.sum(1, keepdims=True))


def test_on_the_ensembles_graph_each_class_has_the_same_to_give():
    draws = np.random.default_rng(0)
    labeled, pool = unit(draws.standard_normal((12, 3))), unit(draws.standard_normal((40, 3)))
    # Ten labels of one class, and two of the other.
    labels = np.repeat([0, 1], [10, 2])
    session = SimpleNamespace(classes=2)
    found = EnsembleLabels()._spread(labeled, labels, pool, session, None)
    start = np.zeros((52, 2))
    start[np.arange(12), labels] = 1
    spread = NeighborGraph(np.concatenate([labeled, pool]).astype(np.float32), 10).spread(start, 0.9)
    level = (spread / spread.sum(0))[12:]
    assert np.allclose(found, level / level.sum(1, keepdims=True))


@pytest.mark.parametrize("kind", ["jittered", "medium", "strong", "cropped"])
def test_views_have_the_noise_that_was_asked_for(kind):
    views = VectorViews(torch.Generator().manual_seed(0), scale=torch.tensor([1.0, 10.0]), noise=0.5)
    found = getattr(views, kind)(torch.zeros(4000, 2)).std(0)
    assert found.tolist() == pytest.approx([0.5, 5.0], rel=0.1)
    assert not views.weak(torch.zeros(4, 2)).any()
