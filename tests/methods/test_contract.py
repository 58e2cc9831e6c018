"""What every method promises, whatever it learns by."""

import math
import pickle
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from waits import Waits

from fewlabels import METHODS, FixMatch, InputError, SelfTraining, Supervised, TrainingWarning, make_method
from fewlabels.data import ImageRows
from fewlabels.methods import linear, linear_probe
from fewlabels.methods.training_set import looked_at
from small_backbones import colors

# -1 and 1 are two classes where they are all there is; the warning that says so is wanted.
signs = pytest.mark.filterwarnings("ignore:y holds only -1 and 1", "ignore:Estimator's parameters")
pytestmark = pytest.mark.usefixtures("narrow_net", "few_penalties")
every_method = pytest.mark.parametrize("name", METHODS)
# Their answer comes from a solver: they take no steps.
NO_NET = ("kmeans-features", "linear-probe", "prototypes")
every_trained_net = pytest.mark.parametrize("name", [name for name in METHODS if name not in NO_NET])

# Short trainings: what is checked is the contract, and the data sets are a few blobs.
BRIEF = {
    "steps": 30,
    "rounds": 1,
    "pretraining_steps": 3,
    "pretraining_batch": 16,
    "centroids": 30,
    "patches": 1000,
    "unlabeled_ratio": 1.0,
    "batch_size": 32,
}

# Checks of scikit-learn that look at how well a classifier does.
NEED_LEARNING = ("check_classifiers", "check_class_weight", "check_supervised_y_2d", "check_methods")


@pytest.fixture
def few_penalties(monkeypatch):
    """Choose between two penalties by two folds: `test_on_features.py` has all, which are most of such a fit's time."""
    few = (0.01, 0.1)
    monkeypatch.setattr(linear, "_FOLDS", 2)
    monkeypatch.setattr(linear_probe, "PENALTIES", few)
    monkeypatch.setattr(linear.choose_penalty, "__defaults__", (few,))


def brief(method, **settings):
    """Return a method that is made to be quick where it can be."""
    known = method().get_params()
    return method(**{key: value for key, value in (BRIEF | settings).items() if key in known})


@signs
@parametrize_with_checks([brief(method) for method in METHODS.values()])
def test_scikit_learns_own_checks_pass(estimator, check):
    # The rest of the checks is about inputs and attributes, which two steps show as well.
    if "steps" in estimator.get_params() and not check.func.__name__.startswith(NEED_LEARNING):
        estimator.set_params(steps=2)
    check(estimator)


@every_method
def test_a_few_steps_on_images_beat_chance_by_far(name, few_labels):
    X, y, test, truth = few_labels
    # Mixed images take longer to learn from, and so does a student that drops half of what it knows.
    steps = {"mix-match": 200, "re-mix-match": 200, "noisy-student": 150}.get(name, 60)
    method = brief(METHODS[name], steps=steps, random_state=0).fit(X, y)
    assert method.score(test, truth) > 0.5
    assert method.predict(test).shape == truth.shape
    assert np.allclose(method.predict_proba(test).sum(1), 1)
    assert method.transform(test[:7]).shape == (7, len(method.get_feature_names_out()))
    assert method.n_features_in_ == 64


@every_method
@pytest.mark.parametrize("missing", [None, float("nan")])
def test_text_labels_with_gaps_are_learned_and_given_back(name, missing, few_labels):
    X, y, test, _ = few_labels
    words = np.array([f"digit {label}" if label >= 0 else missing for label in y], dtype=object)
    method = brief(METHODS[name], steps=4, random_state=0).fit(X, words)
    assert list(method.classes_) == [f"digit {n}" for n in range(10)]
    assert set(method.predict(test)) <= set(method.classes_)
    assert list(method.transduction_[:60]) == list(words[:60])
    assert set(method.transduction_) <= set(method.classes_)


@every_method
def test_a_separate_pool_is_the_same_as_rows_marked_unlabeled(name, few_labels):
    X, y, test, _ = few_labels
    marked = brief(METHODS[name], steps=5, random_state=0).fit(X, y)
    apart = brief(METHODS[name], steps=5, random_state=0).fit(X[:60], y[:60], unlabeled=X[60:])
    assert np.array_equal(marked.predict_proba(test), apart.predict_proba(test))


@every_method
def test_uint8_floats_and_lazy_rows_are_the_same_images(name, few_labels):
    X, y, test, _ = few_labels
    stored = np.round(X * 255).astype(np.uint8)
    given = (X, stored, stored[..., None], ImageRows(stored[..., None]))
    fits = [brief(METHODS[name], steps=3, random_state=0).fit(images, y) for images in given]
    first = fits[0].predict_proba(test)
    for other in fits[1:]:
        assert np.array_equal(first, other.predict_proba(test))


@every_method
def test_the_same_random_state_gives_the_same_weights_and_another_does_not(name, few_labels):
    X, y, *_ = few_labels
    first, again, other = (brief(METHODS[name], steps=4, random_state=s).fit(X, y).network_ for s in (1, 1, 2))
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@every_method
def test_fitting_leaves_the_callers_random_generators_alone(name, few_labels):
    X, y, *_ = few_labels
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    brief(METHODS[name], steps=2).fit(X, y)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
@pytest.mark.parametrize("name", ["fix-match", "joint-autoencoder"])
def test_a_fit_is_the_same_within_whatever_mode_of_pytorch_s(name, around, few_labels):
    X, y, test, _ = few_labels
    expected = brief(METHODS[name], random_state=0, steps=2).fit(X, y)
    with around():
        # What is made within `inference_mode` can never have a gradient.
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        found = brief(METHODS[name], random_state=0, steps=2).fit(torch.tensor(X), y)
        Supervised(net=net, freeze=False, steps=1, random_state=0).fit(X, y)
    assert np.array_equal(found.predict_proba(test), expected.predict_proba(test))


@every_trained_net
def test_training_moves_every_trainable_parameter(name, color_images):
    X, y = color_images
    before = brief(METHODS[name], steps=1, learning_rate=1e-12, random_state=0)
    after = brief(METHODS[name], steps=3, random_state=0)
    pairs = zip(before.fit(X, y).network_.named_parameters(), after.fit(X, y).network_.named_parameters(), strict=True)
    still = [key for (key, a), (_, b) in pairs if a.requires_grad and torch.equal(a, b)]
    assert still == []


@pytest.mark.parametrize("name", [name for name in METHODS if name not in (*NO_NET, "auto")])
def test_every_loss_term_reaches_the_encoder(name, color_images):
    """Each named loss on its own has a gradient in the first trainable filters."""
    from fewlabels.training import loop

    seen = {}
    original = loop.train

    def spy(nets, batches, loss, **rest):
        losses = loss(next(batches()) if callable(batches) else next(batches))
        filters = [p for n, p in nets.named_parameters() if "stages.0.first.weight" in n]
        for term, value in losses.items():
            (gradient,) = torch.autograd.grad(value, filters, retain_graph=True)
            seen[term] = float(gradient.abs().max())
        return original(nets, batches, loss, **rest)

    X, y = color_images
    method = brief(METHODS[name], steps=2, random_state=0)
    if "consistency_weight" in method.get_params():
        method.set_params(threshold=0.0, mask=0.3)  # every term that there is
    if "unlabeled_ratio" in method.get_params():
        own = {"threshold": 0.0, "ramp_up": 0.0, "fairness_weight": 0.1}
        method.set_params(**{key: value for key, value in own.items() if key in method.get_params()})
    import fewlabels.methods.session as session

    session.train, kept = spy, session.train
    try:
        method.fit(X, y, unlabeled=X)
    finally:
        session.train = kept
    assert seen
    assert all(value > 0 for value in seen.values()), seen


@every_trained_net
def test_no_step_makes_the_host_wait_for_the_device(name, color_images, monkeypatch):
    from fewlabels.methods import session

    waits, original = Waits(), session.train

    def watched(nets, batches, loss, *, after_step=None, **rest):
        def watched_loss(batch):
            with waits:
                return loss(batch)

        def watched_after_step():
            with waits:
                after_step()

        original(nets, batches, watched_loss, after_step=after_step and watched_after_step, **rest)

    monkeypatch.setattr(session, "train", watched)
    hooks = [
        register_optimizer_step_pre_hook(lambda *_: waits.__enter__() and None),
        register_optimizer_step_post_hook(lambda *_: waits.__exit__(None, None, None)),
    ]
    X, y = color_images
    try:
        brief(METHODS[name], steps=3, teacher_decay=0.9, random_state=0).fit(X, y, unlabeled=X)
    finally:
        for hook in hooks:
            hook.remove()
    assert waits.found == []


def test_the_watch_for_waits_sees_them():
    waits, values = Waits(), torch.arange(3.0)
    with waits:
        values.sum().item()
        values[values > 1]
        values.numpy()
        values[torch.tensor([0, 1])]
        values.masked_fill(values > 1, 0.0)
    assert [found.split()[0] for found in waits.found] == ["_local_scalar_dense", "index", "numpy"]


@every_method
def test_methods_work_in_pipelines_searches_and_cross_validation(name):
    generator = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = generator.normal(size=(60, 4)) + 3 * y[:, None]
    method = brief(METHODS[name], steps=10, random_state=0)
    assert cross_val_score(method, X, y, cv=3).mean() > 0.9
    search = GridSearchCV(method, {"label_smoothing": [0.0, 0.2]}, cv=2).fit(X, y)
    assert search.best_score_ > 0.9
    assert make_pipeline(StandardScaler(), clone(method)).fit(X, y).score(X, y) > 0.9


def test_samples_without_a_label_do_not_count_in_an_accuracy(digits):
    images, labels = digits
    method = brief(METHODS["supervised"], steps=30, random_state=0).fit(images[:200], labels[:200])
    gaps = np.where(np.arange(100) % 2, -1, labels[200:300])
    expected = method.score(images[200:300:2], labels[200:300:2])
    assert method.score(images[200:300], gaps) == expected
    assert method.score(images[200:300], [None if label < 0 else label for label in gaps]) == expected
    assert method.score(images[200:300:2], labels[200:300:2].astype(object)) == expected
    weights = np.arange(100.0)
    assert method.score(images[200:300], gaps, weights) == method.score(
        images[200:300:2], labels[200:300:2], weights[::2]
    )
    assert method.score(images[200:300], gaps[:, None]) == expected
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        method.score(images[200:300], gaps[:30])
    with pytest.raises(InputError, match="no sample has a label to measure by"):
        method.score(images[:3], [-1, -1, -1])
    half = np.where(np.arange(200) < 100, labels[:200], -1)
    assert (
        cross_val_score(brief(METHODS["supervised"], steps=30, random_state=0), images[:200], half, cv=2).mean() > 0.6
    )


def test_a_pool_that_goes_around_the_steps_of_a_pipeline_is_told_of():
    generator = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = 100 + 5 * (generator.normal(size=(60, 4)) + 3 * y[:, None])
    pipeline = make_pipeline(StandardScaler(), brief(METHODS["label-spreading"], steps=5, random_state=0))
    with pytest.warns(TrainingWarning, match="give the pool as rows of X with the label -1"):
        pipeline.fit(X[:20], y[:20], labelspreading__unlabeled=X[20:])
    pipeline.fit(X, np.where(np.arange(60) < 20, y, -1))
    assert not pipeline[-1].notes_


@every_method
def test_cross_validation_works_on_images(name, digits):
    images, labels = digits
    # Students of strong views and dropout take longer to learn.
    steps = 40 if name == "noisy-student" else 20
    method = brief(METHODS[name], steps=steps, random_state=0)
    assert cross_val_score(method, images[:120], labels[:120], cv=2).mean() > 0.3


@every_method
def test_a_fitted_method_survives_pickling(name, few_labels):
    X, y, test, _ = few_labels
    method = brief(METHODS[name], steps=3, random_state=0).fit(X, y)
    assert np.array_equal(pickle.loads(pickle.dumps(method)).predict_proba(test), method.predict_proba(test))


def test_data_frames_keep_their_column_names():
    frame = pd.DataFrame({"a": np.arange(30.0), "b": np.arange(30.0)[::-1]})
    method = make_method("supervised", steps=2).fit(frame, np.arange(30) // 15)
    assert list(method.feature_names_in_) == ["a", "b"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 5, "epochs": 1}, "steps and epochs are given"),
        ({"steps": 0}, "steps=0"),
        ({"epochs": -1}, "epochs=-1"),
        ({"budget": "soon"}, "neither a time, like 90s"),
        ({"batch_size": 1}, "batch_size=1"),
        ({"batch_size": 128.0}, "batch_size=128.0 is not a whole number; write 128"),
        ({"steps": 2.5}, "steps=2.5 is not a whole number"),
        ({"net": "fsat"}, "did you mean 'fast'"),
        ({"optimizer": "moun"}, "did you mean 'muon'"),
        ({"preset": "notebok"}, "did you mean 'notebook'"),
        ({"learning_rate": 0}, "learning_rate=0"),
        ({"validation_fraction": 1.0}, "validation_fraction=1.0"),
        ({"device": "gpu9"}, "not available here"),
        ({"precision": "half"}, "unknown precision"),
        ({"view": "odd"}, "unknown view"),
        ({"flip": "yes"}, "flip='yes'"),
        ({"batch_size": np.float32(8)}, "batch_size=8.0 is not a whole number; write 8"),
        ({"noise": math.nan}, "noise=nan is not a finite number"),
        ({"weight_decay": math.inf}, "weight_decay=inf is not a finite number"),
        ({"backbone_rate": math.inf}, "backbone_rate=inf is not a finite number"),
        ({"learning_rate": math.inf}, "learning_rate=inf is not a finite number"),
        ({"epochs": math.nan}, "epochs=nan is not a finite number"),
        ({"steps": "5"}, "steps='5' is not a number"),
        ({"steps": [5]}, "is not one value"),
        ({"device": None}, "device=None is no text"),
        ({"precision": 16}, "precision=16 is no text"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_with_what_would(settings, message, few_labels):
    X, y, *_ = few_labels
    with pytest.raises(InputError, match=message):
        make_method("supervised", **settings).fit(X, y)


class Overridden(Supervised):
    """A method whose constructor hides what all methods share."""

    def __init__(self, sharp=1.0, **settings):
        super().__init__(**settings)
        self.sharp = sharp


def test_a_constructor_that_would_lose_settings_is_refused():
    with pytest.raises(InputError, match="Overridden overrides `__init__`, by which 'preset' and other settings are"):
        Overridden(steps=7).check_settings()


class NotDecorated(FixMatch):
    """A method whose default is none, as it is no dataclass of its own."""

    threshold: float = 0.5


@dataclass(kw_only=True, eq=False, repr=False)
class Decorated(FixMatch):
    """The same as it should be."""

    threshold: float = 0.5


def test_a_default_that_the_constructor_would_not_take_is_refused():
    message = "has threshold = 0.5, but its constructor keeps 0.95; write `threshold: float = 0.5`, and `@dataclass"
    with pytest.raises(InputError, match=message):
        NotDecorated(steps=7).check_settings()
    assert Decorated(steps=7).check_settings().threshold == 0.5


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((4, 8, 8, 2)), [0, 1, 0, 1], "1 or 3 channels"),
        (np.full((4, 8, 8), np.nan), [0, 1, 0, 1], "NaN or infinity"),
        (np.full((4, 8, 8), 200.0), [0, 1, 0, 1], "divide by 255"),
        (np.full((4, 8, 8), -1.0), [0, 1, 0, 1], "values from -1 to -1"),
        (np.zeros((4, 8, 8)), [0, 1, 0], "4 samples but y has 3"),
        (np.zeros((4, 8, 8)), [0, 0, -1, 0], "only one class"),
        (np.zeros((4, 8, 8)), [-1] * 4, "no sample has a label"),
        (np.zeros((4, 8, 8)), [None] * 4, "no sample has a label"),
        (np.zeros((4, 8, 8)), None, "y is None"),
        (np.zeros((4, 3, 3)), [0, 1, 0, 1], "too small"),
        (np.zeros((4, 8, 8)), np.array(["a", 1, "b", 2], object), "labels mix types"),
    ],
)
def test_data_that_cannot_be_used_are_refused_with_the_reason(X, y, message):
    with pytest.raises(InputError, match=message):
        make_method("supervised", steps=1).fit(X, y)


def test_a_pool_or_test_image_of_another_shape_is_refused(few_labels):
    X, y, *_ = few_labels
    with pytest.raises(InputError, match="unlabeled has images of shape"):
        make_method("supervised", steps=1).fit(X, y, unlabeled=np.zeros((2, 9, 9)))
    method = make_method("supervised", steps=1).fit(X, y)
    with pytest.raises(InputError, match="X has images of shape"):
        method.predict(np.zeros((2, 9, 9)))


def test_an_unknown_method_or_setting_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'self-training'"):
        make_method("self-trainer")
    with pytest.raises(InputError, match="did you mean 'rounds'"):
        make_method("self-training", round=3)


def test_held_out_rows_are_the_same_for_all_methods_and_never_trained_on(digits):
    images, labels = digits
    held_out = [
        make_method(name, steps=1, random_state=7).fit(images[:200], labels[:200]).validation_rows_ for name in METHODS
    ]
    for rows in held_out[1:]:
        assert np.array_equal(rows, held_out[0])
    assert len(held_out[0]) == 20
    assert set(labels[held_out[0]]) == set(range(10))


def test_a_validation_set_of_ones_own_is_used_instead(digits):
    images, labels = digits
    method = make_method("supervised", steps=1, random_state=0)
    method.fit(images[:100], labels[:100], validation=(images[200:250], labels[200:250]))
    assert len(method.validation_rows_) == 0
    assert method.validation_accuracy_ == method.score(images[200:250], labels[200:250])


def test_a_budget_is_kept_and_its_steps_repeat_the_run(few_labels):
    X, y, test, _ = few_labels
    timed = make_method("supervised", budget="3s", random_state=0).fit(X, y)
    assert timed.fit_seconds_ < 6
    repeated = make_method("supervised", steps=timed.stage_steps_["classifier"], random_state=0).fit(X, y)
    assert np.array_equal(timed.predict_proba(test), repeated.predict_proba(test))


@pytest.mark.parametrize("name", ["fix-match", "self-training", "two-step-autoencoder"])
def test_labeled_samples_can_be_in_the_pool_too(name, few_labels):
    X, y, test, _ = few_labels
    settings = {"steps": 5, "random_state": 0}
    method = make_method(name, labeled_in_pool=True, **settings).fit(X, y)
    learned = np.setdiff1d(np.flatnonzero(y >= 0), method.validation_rows_)
    # As if they had been given as pool samples by hand, behind the others.
    by_hand = make_method(name, **settings).fit(X, y, unlabeled=X[learned])
    assert np.array_equal(method.predict_proba(test), by_hand.predict_proba(test))
    assert method.settings_["labeled_in_pool"] is True
    if name == "self-training":
        assert [len(labels) for labels in method.round_pseudo_labels_] == [(y < 0).sum()] * 2
        for record, labels in zip(method.rounds_, method.round_pseudo_labels_, strict=True):
            assert record["asked"] == len(labels)
            assert record["pool_share"] == pytest.approx((labels >= 0).mean(), abs=1e-4)


def test_a_budget_for_few_steps_is_warned_of_once(few_labels):
    X, y, *_ = few_labels
    method = SelfTraining(rounds=1, budget="3k images", random_state=0)
    with pytest.warns(TrainingWarning, match="budget='3k images' is enough for .* times as much") as warned:
        method.fit(X, y)
    assert len(warned) == 1
    assert str(warned[0].message) in method.notes_


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"side": 16}, ", take smaller images or take net='fast-coarse', which is quicker"),
        ({"side": 16, "net": "fast-coarse"}, "times as much or take smaller images"),
        ({"side": 8}, "times as much"),
        ({"side": 0}, "times as much"),
    ],
)
def test_the_advice_for_few_steps_is_for_the_samples_and_the_net(few_labels, settings, told):
    (X, y, *_), settings = few_labels, dict(settings)
    side = settings.pop("side")
    X = X.repeat(side // 8, 1).repeat(side // 8, 2) if side else X.reshape(len(X), -1)
    with pytest.warns(TrainingWarning, match="is enough for") as warned:
        make_method("supervised", budget="2k images", random_state=0, **settings).fit(X, y)
    assert str(warned[0].message).endswith(told)


def test_a_budget_without_a_unit_is_said_to_be_of_seconds(few_labels):
    X, y, *_ = few_labels
    with pytest.warns(TrainingWarning, match=r"budget='0.2' \(seconds\) is enough for"):
        make_method("supervised", budget="0.2", random_state=0).fit(X, y)


@pytest.mark.parametrize(
    ("images", "told", "times"),
    [
        (16, "less than 1 step of a stage here (1 is taken all the same),", 200),
        (32, "1 step of a stage here,", 100),
        (64, "2 steps of a stage here,", 50),
    ],
)
def test_a_budget_for_less_than_a_step_is_said_to_be_that(images, told, times, few_labels):
    X, y, *_ = few_labels
    with pytest.warns(TrainingWarning, match="is enough for") as warned:
        method = make_method("supervised", budget=f"{images} images", batch_size=32, random_state=0).fit(X, y)
    assert f"is enough for {told}" in str(warned[0].message)
    assert f"give {times} times as much" in str(warned[0].message)
    assert method.n_iter_ == max(1, images // 32)


@every_trained_net
def test_a_budget_of_images_is_spent_and_not_more(name, few_labels):
    X, y, *_ = few_labels
    method = brief(METHODS[name], steps=None, pretraining_steps=None, budget="2k images", random_state=0).fit(X, y)
    assert 1_750 < method.gradient_images_ <= 2_000 + 3 * 32


# The mended notebook's say how long they train, in passes over thousands of images.
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if "notebook" in method.PRESETS])
def test_a_budget_comes_before_the_lengths_of_a_preset(name, digits):
    images, labels = digits
    method = make_method(name, preset="notebook", budget="4k images", random_state=0)
    method.fit(images[:150], labels[:150], unlabeled=images[150:])
    assert method.gradient_images_ <= 4_000 + 3 * 32
    # Self-training ends where a round finds nothing that it is sure of.
    assert name == "self-training" or method.gradient_images_ > 3_500


def test_steps_come_before_the_passes_of_a_preset_in_both_of_its_stages(few_labels):
    X, y, *_ = few_labels
    method = make_method("two-step-autoencoder", preset="notebook", steps=3, random_state=0).fit(X, y)
    assert method.stage_steps_ == {"autoencoder": 3, "classifier": 3}
    longer = make_method("two-step-autoencoder", preset="notebook", steps=3, pretraining_epochs=1, random_state=0)
    assert longer.fit(X, y).stage_steps_["autoencoder"] > 3
    alone = make_method("two-step-autoencoder", preset="notebook", pretraining_steps=3)
    assert alone.resolved_settings()["pretraining_epochs"] is None


def test_presets_fill_in_only_what_is_at_its_default(few_labels):
    X, y, *_ = few_labels
    method = make_method("supervised", preset="notebook", batch_size=16, steps=2, random_state=0).fit(X, y)
    assert method.settings_["net"] == "notebook"
    assert method.settings_["batch_size"] == 16
    assert method.stage_steps_ == {"classifier": 2}
    assert method.get_params()["net"] == "auto"


def test_the_preset_auto_is_the_one_for_minutes_unless_the_training_is_very_long():
    short = METHODS["fix-match"].PRESETS["short"]
    for method, expected in (
        (make_method("fix-match", preset="auto"), short["unlabeled_ratio"]),
        (make_method("fix-match", preset="auto", steps=2**20), make_method("fix-match").unlabeled_ratio),
        (make_method("fix-match", preset="auto", unlabeled_ratio=5.0), 5.0),
    ):
        assert method._resolved().unlabeled_ratio == expected
    assert make_method("supervised", preset="auto")._resolved().batch_size == make_method("supervised").batch_size


def test_what_an_earlier_fit_left_is_gone_after_the_next(few_labels):
    X, y, test, _ = few_labels
    method = make_method("uda", steps=3, guard=True, assess_pool=True, net=colors(), random_state=0).fit(X, y)
    method.set_params(guard=False, assess_pool=False, net="auto").fit(X, y)
    fresh = make_method("uda", steps=3, random_state=0).fit(X, y)
    assert set(vars(method)) == set(vars(fresh))
    assert np.array_equal(method.predict_proba(test), fresh.predict_proba(test))


def test_a_fit_that_is_refused_leaves_the_method_as_it_was(few_labels):
    vectors, labels = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 2
    method = make_method("prototypes", random_state=0)
    with pytest.raises(InputError, match=r"only one class \(0\)"):
        method.fit(vectors, np.zeros(30, int))
    with pytest.raises(NotFittedError):
        method.predict(vectors)
    before = method.fit(vectors, labels).predict_proba(vectors)
    with pytest.raises(InputError, match="only one class"):
        method.fit(pd.DataFrame(vectors[:, :2], columns=["a", "b"]), np.zeros(30, int))
    assert np.array_equal(method.predict_proba(vectors), before)


@pytest.mark.parametrize("wrong", [{"random_state": "bad"}, {"device": "gpu9"}, {"precision": "half"}])
def test_a_setting_that_is_refused_late_leaves_an_earlier_fit_as_it_was(wrong, few_labels):
    X, y, test, _ = few_labels
    method = make_method("supervised", steps=2, random_state=0).fit(X, y)
    before = method.predict_proba(test)
    with pytest.raises(ValueError):
        clone(method).set_params(**wrong).fit(X, y)
    right = {name: getattr(method, name) for name in wrong}
    with pytest.raises(ValueError):
        method.set_params(**wrong).fit(X[:, :6, :6], y)
    method.set_params(**right)
    assert method.n_features_in_ == 64
    assert np.array_equal(method.predict_proba(test), before)


@pytest.mark.parametrize("fitted", [False, True])
def test_after_a_fit_that_was_broken_off_there_is_no_fit(fitted, few_labels):
    X, y, test, _ = few_labels
    method = make_method("supervised", steps=20, random_state=0)
    if fitted:
        method.fit(X, y)

    def stop(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        method.fit(X, y, observer=stop)
    with pytest.raises(NotFittedError):
        check_is_fitted(method)
    for answer in (method.predict, method.transform, method.predict_set):
        with pytest.raises(NotFittedError):
            answer(test)


def test_settings_are_kept_as_they_are_when_they_are_numbers_of_numpy(few_labels):
    X, y, *_ = few_labels
    given = {"steps": np.int64(3), "batch_size": np.int64(16), "dropout": np.float64(0.25), "guard": np.bool_(False)}
    settings = make_method("supervised", random_state=0, **given).fit(X, y).settings_
    assert {name: (type(settings[name]), settings[name]) for name in given} == {
        "steps": (int, 3),
        "batch_size": (int, 16),
        "dropout": (float, 0.25),
        "guard": (bool, False),
    }


@pytest.mark.parametrize("flat", [False, True])
def test_masked_samples_are_refused(flat):
    values = np.random.default_rng(0).random((30, 36) if flat else (30, 6, 6)).astype(np.float32)
    labels = np.arange(30) % 2
    method = make_method("supervised", steps=1, random_state=0).fit(values, labels, unlabeled=values)
    hidden = np.ma.masked_less(values, 0.1)
    for call in (
        lambda: method.predict(hidden),
        lambda: method.fit(hidden, labels),
        lambda: method.fit(values, labels, unlabeled=hidden),
        lambda: method.fit(values, labels, validation=(hidden, labels)),
    ):
        with pytest.raises(InputError, match="has masked values"):
            call()
    # A mask that hides nothing is none.
    assert np.array_equal(method.predict(np.ma.masked_less(values, 0)), method.predict(values))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"unlabeled": 5}, "unlabeled=5 holds no samples"),
        ({"validation": 5}, r"validation is two things, \(X, y\)"),
        ({"validation": (np.zeros((2, 64)), np.zeros(2), 1)}, r"validation is two things, \(X, y\)"),
    ],
)
def test_more_samples_that_are_none_are_refused(more, message, few_labels):
    X, y, *_ = few_labels
    with pytest.raises(InputError, match=message):
        make_method("supervised", steps=1).fit(X, y, **more)


@pytest.mark.parametrize("unit", [2.0**-40, 2.0**-23, 2.0**20])  # which changes no digit
def test_vectors_are_learned_from_in_whatever_unit(unit, few_labels):
    X, y, test, _ = few_labels
    X, test = X.reshape(len(X), -1), test.reshape(len(test), -1)
    varies = X[:60].std(0) > 0  # what never does stays in its unit
    X, test = X[:, varies], test[:, varies]
    expected, found = (
        make_method("supervised", steps=5, random_state=0).fit(X * u, y).predict_proba(test * u) for u in (1.0, unit)
    )
    assert np.array_equal(found, expected)


def test_what_was_missing_is_filled_as_it_is_predicted():
    # Of noise, mirrored or not, a net that has learned next to nothing often says another class.
    noise = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), dtype=np.uint8)
    labels = np.where(np.arange(300) < 30, np.arange(300) % 2, -1)
    method = make_method("supervised", steps=20, batch_size=16, random_state=0).fit(noise, labels)
    assert method.mirrors_
    assert np.array_equal(method.transduction_[30:], method.predict(noise[30:]))


def test_adam_has_a_rate_that_it_can_use():
    assert make_method("supervised", optimizer="adam").resolved_settings()["learning_rate"] == 1e-3
    given = make_method("supervised", optimizer="adam", learning_rate=0.01)
    assert given.resolved_settings()["learning_rate"] == 0.01


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if hasattr(method, "pretraining_rate")])
def test_what_pretrains_does_so_at_a_rate_that_adam_can_use_too(name):
    further = [] if "autoencoder" in name else [{"net": colors(), "freeze": False}]
    for settings in ({"optimizer": "adam"}, *further):
        assert make_method(name, **settings).resolved_settings()["pretraining_rate"] == 1e-3
        given = make_method(name, pretraining_rate=0.01, **settings)
        assert given.resolved_settings()["pretraining_rate"] == 0.01
    usual = METHODS[name]().pretraining_rate
    assert make_method(name).resolved_settings()["pretraining_rate"] == usual
    assert make_method(name, optimizer="sgd").resolved_settings()["pretraining_rate"] == usual


def test_training_a_net_further_leaves_what_a_method_has_chosen_for_itself():
    def resolved(name, **settings):
        return make_method(name, net=colors(), freeze=False, **settings).resolved_settings()

    assert [resolved(name)["view"] for name in ("noisy-student", "re-mix-match")] == ["strong", "strong"]
    gentle = resolved("supervised")
    assert [gentle[name] for name in ("optimizer", "batch_size", "view")] == ["adam", 32, "weak"]
    given = resolved("supervised", optimizer="sgd", batch_size=64, view="strong")
    assert [given[name] for name in ("optimizer", "batch_size", "view")] == ["sgd", 64, "strong"]


def test_lazy_gray_images_without_an_axis_for_channels_are_read(few_labels):
    class Lazy:
        def __init__(self, array):
            self.array, self.shape, self.dtype = array, array.shape, array.dtype

        def __len__(self):
            return len(self.array)

        def __getitem__(self, index):
            return self.array[index]

    X, y, *_ = few_labels
    images = np.round(np.squeeze(X) * 255).astype(np.uint8)
    given, lazy = (
        make_method("supervised", steps=2, random_state=0).fit(one, y).predict_proba(images)
        for one in (images, Lazy(images))
    )
    assert np.array_equal(given, lazy)


@pytest.mark.parametrize("what", ["unlabeled", "validation"])
def test_other_columns_or_shapes_of_more_samples_are_refused(what):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["a", "b"])
    labels = np.arange(40) % 2

    def fit(more):
        given = {"unlabeled": more} if what == "unlabeled" else {"validation": (more, labels[: len(more)])}
        return make_method("supervised", steps=2, random_state=0).fit(frame, labels, **given)

    fit(frame[:10])
    with pytest.raises(ValueError, match="feature names should match"):
        fit(frame[["b", "a"]])
    with pytest.raises(InputError, match=f"{what} has shape"):
        fit(frame[["a"]])


@pytest.mark.parametrize("labels", [5, 15])
def test_held_out_samples_with_more_or_fewer_labels_are_refused(labels, few_labels):
    X, y, *_ = few_labels
    with pytest.raises(InputError, match=f"validation has 10 samples and {labels} labels"):
        make_method("supervised", steps=1).fit(X[:60], y[:60], validation=(X[:10], np.zeros(labels, int)))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("two-step-autoencoder", {"pretraining_steps": 2.5}),
        ("sim-clr", {"pretraining_steps": 2.5}),
        ("two-step-autoencoder", {"pretraining_steps": 2, "pretraining_epochs": 1}),
        ("two-step-autoencoder", {"pretraining_rate": -1.0}),
        ("supervised", {"weight_decay": -1.0}),
        ("supervised", {"noise": -5.0}),
        ("supervised", {"shift": -0.1}),
        ("supervised", {"batch_size": None}),
        ("supervised", {"learning_rate": None}),
        ("fix-match", {"threshold": None}),
        ("supervised", {"guard": None}),
    ],
)
def test_settings_that_cannot_be_used_are_refused(name, settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        make_method(name, **settings).check_settings()


def test_looks_on_the_way_see_samples_of_all_classes():
    # In the order of a shuffled deck: every tenth sample is of the same class.
    labels = np.arange(2500) % 10
    assert len(set(labels[looked_at(2500)])) == 10


@pytest.mark.parametrize("flat", [False, True])
def test_tensors_that_a_gradient_is_wanted_of_are_samples_as_arrays_are(few_labels, flat):
    X = few_labels[0]
    X = X[:60].reshape(60, -1) if flat else X[:60]
    labels = np.where(np.arange(60) < 40, np.arange(60) % 2, -1)
    tensors = [torch.tensor(values).requires_grad_() for values in (X, labels.astype(np.float32))]
    by_arrays = make_method("supervised", steps=3, random_state=0).fit(X, labels, unlabeled=X)
    by_tensors = make_method("supervised", steps=3, random_state=0).fit(*tensors, unlabeled=tensors[0])
    assert np.array_equal(by_arrays.predict_proba(X), by_tensors.predict_proba(tensors[0]))
    in_short = by_arrays.predict_proba(torch.tensor(X).bfloat16())
    assert np.allclose(in_short, by_arrays.predict_proba(torch.tensor(X).bfloat16().float().numpy()))


def test_a_sparse_pool_is_refused_with_what_to_give():
    vectors = np.arange(60.0, dtype=np.float32).reshape(20, 3)
    with pytest.raises(InputError, match=r"a sparse matrix cannot be learned from; give an array"):
        make_method("supervised", steps=1).fit(vectors, np.arange(20) % 2, unlabeled=csr_matrix(vectors))


@pytest.mark.parametrize("flat", [False, True])
def test_views_are_as_was_asked_for(flat, color_images):
    X, y = color_images
    seen = []

    class Watched(METHODS["supervised"]):
        def loss(self, nets, batch):
            seen.append(batch.views)
            return super().loss(nets, batch)

    if flat:
        asked = {"noise": 0.3, "feature_dropout": 0.2, "feature_mixup": 0.4}
        X = X.reshape(len(X), -1)[:, :20].astype(np.float32)
    else:
        asked = {"flip": False, "shift": 0.25, "cutout": 0.5, "color": 0.1, "operations": 3}
    Watched(steps=1, batch_size=8, random_state=0, **asked).fit(X, y)
    found = {name.removeprefix("feature_"): value for name, value in asked.items()}
    assert {name: getattr(seen[0], name) for name in found} == found
