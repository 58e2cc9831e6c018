from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from fewlabels import InputError, Supervised, load, load_dataset
from fewlabels.evaluation.metrics import (
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    evaluate_model,
    pseudo_label_quality,
)


@pytest.fixture(scope="module")
def data():
    return load_dataset("digits", labels_per_class=10, test_per_class=20)


@pytest.fixture(scope="module")
def model(data):
    return Supervised(steps=20, random_state=0).fit(data.labeled, data.labels)


def test_balanced_accuracy_is_that_of_scikit_learn():
    draws = np.random.default_rng(0)
    labels, guesses = draws.integers(0, 4, 200), draws.integers(0, 4, 200)
    assert balanced_accuracy(labels, guesses) == pytest.approx(balanced_accuracy_score(labels, guesses))


def test_no_images_have_no_accuracy():
    none = np.empty(0, np.int64)
    assert math.isnan(accuracy(none, none))
    assert math.isnan(balanced_accuracy(none, none))


def test_the_confusion_matrix_has_a_row_for_classes_without_images():
    assert confusion_matrix(np.array([0, 0, 2]), np.array([0, 2, 2]), 4).tolist() == [
        [1, 0, 1, 0],
        [0, 0, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
    ]


def test_pseudo_labels_are_judged_only_where_the_truth_is_known():
    given, truth = np.array([2, 2, 1, -1, 0]), np.array([2, 1, -1, 0, -1])
    assert pseudo_label_quality(given, truth) == (0.5, pytest.approx(1 / 3))
    assert pseudo_label_quality(given, np.full(5, -1)) == (None, None)
    assert pseudo_label_quality(np.full(5, -1), truth) == (None, 0.0)


def test_a_model_is_measured_on_the_test_images(data, model):
    found = evaluate_model(model, data)
    assert found["test_accuracy"] == pytest.approx(model.score(data.test, data.test_labels))
    assert found["test_low"] < found["test_accuracy"] < found["test_high"]
    assert found["test_images"] == 200


def test_classes_are_matched_by_name_when_the_data_number_them_otherwise(data, model):
    turned = dataclasses.replace(data, class_names=data.class_names[::-1], test_labels=9 - data.test_labels)
    named = evaluate_model(with_names(model, data.class_names), turned)
    assert named["test_accuracy"] == evaluate_model(model, data)["test_accuracy"]


def test_a_model_of_other_classes_is_refused(data, model):
    with pytest.raises(InputError, match="'cat' is not among those of the data"):
        evaluate_model(with_names(model, ("cat", *data.class_names[1:])), data)


def with_names(model, names):
    named = Supervised()
    named.__dict__.update(vars(model))
    named.class_names_ = list(names)
    return named


def test_a_model_that_was_saved_without_names_is_measured_by_its_indices(data, model, tmp_path):
    model.save(tmp_path / "model")
    assert evaluate_model(load(tmp_path / "model"), data) == evaluate_model(model, data)


def folders(names):
    """Return images of classes that are called so, each of one brightness, and a model of their indices."""
    names = sorted(names)
    labels = np.tile(np.arange(len(names)), 8)
    images = np.repeat(labels * (255 // len(names)), 64).reshape(-1, 8, 8).astype(np.uint8)
    data = load_dataset({"train": (images, np.array(names)[labels]), "test": (images, np.array(names)[labels])})
    # The reader sorts names that are numbers as such; folders come by the alphabet.
    order = [data.class_names.index(name) for name in names]
    data = dataclasses.replace(
        data,
        class_names=tuple(names),
        labels=np.argsort(order)[data.labels],
        test_labels=np.argsort(order)[data.test_labels],
    )
    return data, Supervised(steps=60, view="plain", random_state=0).fit(data.labeled, data.labels)


def test_indices_that_are_names_of_other_classes_are_taken_for_neither(tmp_path):
    data, model = folders(map(str, range(12)))
    with pytest.raises(InputError, match="can be names of the data's classes as well as their numbers"):
        evaluate_model(load(model.save(tmp_path / "model")), data)
    named = load(model.save(tmp_path / "named", class_names=list(data.class_names)))
    assert evaluate_model(named, data)["test_accuracy"] == model.score(data.test, data.test_labels)


def test_indices_of_which_some_alone_are_names_are_indices(tmp_path):
    data, model = folders(["1", "2", "3"])
    found = evaluate_model(load(model.save(tmp_path / "model")), data)
    assert found["test_accuracy"] == model.score(data.test, data.test_labels)
