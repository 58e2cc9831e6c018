"""Each method that learns from the pool finds a structure that the few labels do not show."""

import functools

import numpy as np
import pytest
from sklearn.datasets import make_moons

from fewlabels import make_method

pytestmark = pytest.mark.usefixtures("narrow_net")


def moons():
    """Two interleaved half moons with three labels each: the nearest labels mislead."""
    X, truth = make_moons(600, noise=0.06, random_state=0)
    labeled = [np.flatnonzero(truth == label)[:3] for label in (0, 1)]
    return X.astype(np.float32), truth, np.concatenate(labeled)


def bars():
    """Two upright bars; the four labels of one lie low and those of the other high."""
    generator = np.random.default_rng(0)
    truth = np.repeat([0, 1], 300)
    X = np.stack([np.where(truth == 0, -1, 1) + 0.2 * generator.normal(size=600), generator.uniform(-3, 3, 600)], 1)
    low = np.flatnonzero((truth == 0) & (X[:, 1] < -0.5))[:4]
    high = np.flatnonzero((truth == 1) & (X[:, 1] > 0.5))[:4]
    return X.astype(np.float32), truth, np.concatenate([low, high])


def given(data):
    """Return samples, their labels where these are given, and all labels."""
    X, truth, labeled = data()
    y = np.full(len(truth), -1)
    y[labeled] = truth[labeled]
    return X, y, truth


# Most methods are compared with the same training.
@functools.cache
def accuracy_alone(data, **settings):
    X, y, truth = given(data)
    return make_method("supervised", **settings).fit(X, y).score(X, truth)


@pytest.mark.parametrize(
    ("name", "data", "settings"),
    [
        ("pseudo-label", bars, {"noise": 0.2}),
        ("pi-model", bars, {"noise": 0.2}),
        ("mean-teacher", bars, {"noise": 0.3, "unlabeled_weight": 20.0, "teacher_decay": 0.9, "steps": 400}),
        ("vat", moons, {"noise": 0.3, "steps": 400}),
        ("mix-match", moons, {"noise": 0.3, "unlabeled_ratio": 4.0, "alpha": 0.3, "steps": 200}),
        ("re-mix-match", moons, {"noise": 0.3, "unlabeled_ratio": 4.0, "alpha": 0.3}),
        ("uda", moons, {"noise": 0.3}),
        ("fix-match", moons, {"noise": 0.3}),
        ("flex-match", moons, {"noise": 0.3}),
        ("free-match", moons, {"noise": 0.3}),
        ("soft-match", moons, {"noise": 0.3}),
        ("sim-match", moons, {"noise": 0.3}),
        ("label-spreading", moons, {"noise": 0.1, "neighbors": 10}),
    ],
)
def test_a_method_finds_what_labels_alone_do_not_show(name, data, settings):
    X, y, truth = given(data)
    settings = {"steps": 100, "random_state": 0, "validation_fraction": 0.0} | settings
    own = {"steps", "random_state", "validation_fraction", "noise"}
    alone = accuracy_alone(data, **{key: settings[key] for key in sorted(own)})
    # One in five trainings of Mean Teacher settles between the bars, whatever the settings, and one in ten of VAT short
    # of a moon's end: rounding decides which.
    seeds = range({"mean-teacher": 5, "vat": 3}.get(name, 1))
    found = [make_method(name, **settings | {"random_state": seed}).fit(X, y).score(X, truth) for seed in seeds]
    assert np.median(found) > alone + 0.03
