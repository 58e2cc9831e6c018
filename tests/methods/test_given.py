"""What a fit is given: what of it is told, as it will not be learned from as it is meant."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits, load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset

from fewlabels import FixMatch, InputError, LinearProbe, Supervised, TrainingWarning, load, load_dataset
from fewlabels.nets.statistics import drawn_in


def of_times(spread):
    """Return vectors of which one column is seconds since 1970, and their labels."""
    draws = np.random.default_rng(0)
    table = pd.DataFrame({"size": draws.normal(size=60), "time": 1.7e9 + spread * draws.normal(size=60)})
    return table, np.arange(60) % 2


def test_digits_that_float32_loses_are_told_with_what_to_do():
    X, y = of_times(100)
    with pytest.warns(TrainingWarning, match="column time of X holds values that differ by too little"):
        Supervised(steps=2).fit(X, y)
    X["later"] = X["time"] + 5
    with pytest.warns(TrainingWarning, match="column time of X and 1 other hold values"):
        Supervised(steps=2).fit(X, y)


def test_a_pool_of_one_class_or_of_few_values_is_in_no_other_units():
    draws = np.random.default_rng(0)
    flowers, kinds = load_iris(return_X_y=True)
    some = draws.permutation(150)[:40]
    rare = np.eye(500)
    blobs = np.repeat(20 * draws.normal(size=(4, 6)), 1500, axis=0) + draws.normal(size=(6000, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingWarning)
        for X, pool in (
            (flowers[some], flowers[kinds == 0]),
            (rare[draws.integers(0, 500, 40)], rare[draws.integers(0, 500, 2000)]),
            (blobs[draws.permutation(6000)[:60]], blobs),
        ):
            Supervised(steps=2, random_state=0).fit(X, np.arange(len(X)) % 2, unlabeled=pool)


@pytest.mark.parametrize("make", [lambda X: X - X.mean(), lambda X: X.astype(np.float32), lambda X: X * 0 + 1.7e9])
def test_what_loses_nothing_more_is_not_warned_of(make):
    X, y = of_times(100)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingWarning)
        Supervised(steps=2).fit(make(X), y)
        Supervised(steps=2).fit(of_times(1e6)[0].to_numpy(), y)


@pytest.mark.parametrize("value", [1e4, -1e6, 1e30])
def test_one_corrupt_row_of_a_pool_does_no_harm_and_is_no_other_unit(value):
    digits = load_digits()
    X, y = digits.data, digits.target
    labeled = np.concatenate([np.flatnonzero(y == digit)[:4] for digit in range(10)])
    pool = X[600:1200].copy()
    pool[0] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingWarning)
        method = FixMatch(steps=60, random_state=0).fit(X[labeled], y[labeled], unlabeled=pool)
    assert method.score(X[1200:], y[1200:]) > 0.8
    pool[:] = X[600:1200] * 1000
    with pytest.warns(TrainingWarning, match="unlabeled lies far from X"):
        FixMatch(steps=2, random_state=0).fit(X[labeled], y[labeled], unlabeled=pool)


def test_values_are_drawn_in_only_where_nearly_all_others_are_within_a_range():
    draws = torch.Generator().manual_seed(0)
    usual = torch.randn(1000, 3, generator=draws) ** 3
    assert torch.equal(drawn_in(usual), usual)
    mostly_zero = torch.zeros(1000, 1)
    mostly_zero[:40] = 1e6
    assert torch.equal(drawn_in(mostly_zero), mostly_zero)
    usual[7] = 1e9
    found = drawn_in(usual)
    assert found[7].max() < 1e3
    assert torch.equal(found[:7], usual[:7])


def test_samples_to_validate_on_that_went_around_a_pipeline_are_told(digits):
    X, y = digits[0].reshape(len(digits[0]), -1) * 160 + 500, digits[1]
    steps = make_pipeline(StandardScaler(), Supervised(steps=2, random_state=0))
    with pytest.warns(TrainingWarning, match="validation lies far from X.*leave it away"):
        steps.fit(X[:200], y[:200], supervised__validation=(X[200:300], y[200:300]))
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingWarning)
        Supervised(steps=2, random_state=0).fit(X[:200], y[:200], validation=(X[200:300], y[200:300]))


@pytest.mark.parametrize("factor", [10, 0.1])
def test_a_pool_of_another_spread_about_the_same_mean_is_in_other_units(digits, factor):
    X, y = digits[0].reshape(len(digits[0]), -1), digits[1]
    X = X - X.mean(0)
    with pytest.warns(TrainingWarning, match="unlabeled lies far from X"):
        Supervised(steps=2, random_state=0).fit(X[:100], y[:100], unlabeled=X[400:] * factor)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingWarning)
        Supervised(steps=2, random_state=0).fit(X[:100], y[:100], unlabeled=X[400:][y[400:] == 3])


@pytest.mark.parametrize(
    "make", [lambda images: (images > 0.4).astype(int), lambda images: (images * 16).astype("uint8")]
)
def test_dark_images_are_told_of(few_labels, make):
    X, y, _, _ = few_labels
    with pytest.warns(TrainingWarning, match="no pixel of the images is brighter than (1|16) of 255"):
        Supervised(steps=2, random_state=0).fit(make(X), y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingWarning)
        Supervised(steps=2, random_state=0).fit(X > 0.4, y)
        LinearProbe(random_state=0).fit(make(X), y)


def test_classes_of_which_nothing_is_held_out_are_told_of(digits, tmp_path):
    X, y = digits
    few = np.concatenate([np.flatnonzero(y == label)[: 40 if label < 3 else 4] for label in range(10)])
    with pytest.warns(TrainingWarning, match="no labeled sample of 7 of the 10 classes is held out"):
        method = Supervised(steps=2, random_state=0).fit(X[few], y[few])
    assert method.unmeasured_classes_ == list(range(3, 10))
    folder = method.save(tmp_path / "model", class_names=[f"class {label}" for label in range(10)])
    assert "| 12 held-out labeled samples, none of 7 of the 10 classes |" in (folder / "README.md").read_text()
    assert load(folder).unmeasured_classes_ == list(range(3, 10))
    # What is given to validate with may lack some too.
    given = few[y[few] > 0]
    with pytest.warns(TrainingWarning, match="validation has no sample of 1 of the 10 classes: what"):
        method.fit(X[few], y[few], validation=(X[given], y[given]))
    # So few of the samples are worth no warning.
    few = np.concatenate([np.flatnonzero(y == label)[: 20 if label else 4] for label in range(10)])
    assert Supervised(steps=2, random_state=0).fit(X[few], y[few]).unmeasured_classes_ == [0]
    assert Supervised(steps=2, validation_fraction=0.0).fit(X[few], y[few]).unmeasured_classes_ == []


def test_images_a_hair_outside_of_their_range_are_in_it(few_labels):
    X, y, others, _ = few_labels
    off = X.copy()
    off[0, 0, 0], off[0, 0, 1] = 1.0000001, -1e-6
    same = X.copy()
    same[0, 0, 0], same[0, 0, 1] = 1, 0
    found, expected = (Supervised(steps=2, random_state=0).fit(images, y) for images in (off, same))
    np.testing.assert_array_equal(found.predict_proba(others), expected.predict_proba(others))
    with pytest.raises(InputError, match=r"values from 0 to 1\.5; float images are in \[0, 1\]$"):
        Supervised(steps=2).fit(X * 1.5, y)
    with pytest.raises(InputError, match="divide by 255"):
        Supervised(steps=2).fit(X * 255, y)


@pytest.mark.parametrize("change", [{"net": "mlp"}, {"assess_pool": True}])
def test_a_fit_that_is_refused_leaves_the_one_before(few_labels, change):
    X, y, others, _ = few_labels
    method = Supervised(steps=2, random_state=0).fit(X, y)
    before = method.predict_proba(others)
    few = np.where(np.arange(len(y)) < 12, y, -1)
    with pytest.raises(InputError):
        method.set_params(**change).fit(X, few)
    np.testing.assert_array_equal(method.predict_proba(others), before)


def test_many_classes_of_few_samples_are_no_regression():
    draws = np.random.default_rng(0)
    X = np.repeat(3 * draws.normal(size=(60, 20)), 2, axis=0) + 0.1 * draws.normal(size=(120, 20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LinearProbe(random_state=0, validation_fraction=0).fit(X[:100], np.repeat(np.arange(50), 2))
        LinearProbe(random_state=0, validation_fraction=0).fit(X[:100:2], np.arange(50))


@pytest.mark.parametrize("vectors", [False, True])
def test_what_holds_samples_and_is_no_array_of_them_is_told(few_labels, vectors):
    images, y, *_ = few_labels
    X = images.reshape(len(images), -1) / 255 if vectors else images
    data, tensors = load_dataset("digits", labels_per_class=3), TensorDataset(torch.zeros(60, 8, 8), torch.zeros(60))
    fitted = Supervised(steps=1).fit(X, y)
    for given, message in (
        (data, "is a whole data set; give a part of it: data.labeled with data.labels"),
        (tensors, "is a TensorDataset of PyTorch; give its samples as one array or tensor"),
        (DataLoader(tensors), "is a DataLoader of PyTorch; give its samples as one array or tensor"),
        ("folder", "holds 'folder', text or a path"),
    ):
        with pytest.raises(InputError, match=f"unlabeled {message}"):
            Supervised(steps=1).fit(X, y, unlabeled=given)
        if given == "folder":
            continue
        with pytest.raises(InputError, match=f"X {message}"):
            Supervised(steps=1).fit(given, y)
        with pytest.raises(InputError, match=f"X {message}"):
            fitted.predict(given)
    with pytest.raises(InputError, match=r"unlabeled is a pair \(X, y\); give the samples alone"):
        Supervised(steps=1).fit(X, y, unlabeled=(X, y))


@pytest.mark.parametrize("every", ["60", None, -1, float("nan")])
def test_seconds_between_checkpoints_are_a_number(few_labels, every, tmp_path):
    X, y, *_ = few_labels
    with pytest.raises(InputError, match=r"checkpoint_every=.* is not a number of seconds of at least 0"):
        Supervised(steps=1).fit(X, y, checkpoint=tmp_path / "c", checkpoint_every=every)
    with pytest.raises(InputError, match="checkpoint='' names no folder"):
        Supervised(steps=1).fit(X, y, checkpoint="")
