"""Classes of files, as other programs read them."""

import csv
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torch import nn

from fewlabels import Prototypes, Supervised, embed, load, load_dataset
from fewlabels.export import Predictions, predict_files, write_predictions

# The first as Python names a file whose name is no UTF-8.
NAMES = ("caf\udce9.png", "back\rspace.png", "a, b.png")


def test_any_name_of_a_file_is_written_so_that_it_can_be_read(tmp_path):
    found = Predictions(NAMES, ("cat", "dog", "cat"), np.full(3, 0.5), ())
    write_predictions(found, tmp_path / "found.csv")
    with (tmp_path / "found.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        assert [row["file"] for row in csv.DictReader(file)] == list(NAMES)
    write_predictions(found, tmp_path / "found.parquet")
    assert pq.read_table(tmp_path / "found.parquet")["file"].to_pylist() == [r"caf\xe9.png", *NAMES[1:]]


def test_files_and_folders_may_be_given_as_text_and_alone(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (8, 8, 8, 3)).astype(np.uint8)
    model = Supervised(steps=1, batch_size=4, random_state=0).fit(images, [0, 1] * 4)
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    expected = (str(tmp_path / "a.png"),)
    for paths in (str(tmp_path), tmp_path, [str(tmp_path / "a.png")], [tmp_path / "a.png"]):
        assert predict_files(model, paths).paths == expected
    assert predict_files(model, [tmp_path / "a.png", tmp_path]).paths == expected  # one row each


def test_a_model_on_features_of_a_gray_net_reads_files_as_gray(tmp_path):
    net = nn.Conv2d(1, 4, 3)
    net.image_mean, net.image_size = (0.5,), 12
    X = np.random.default_rng(0).integers(0, 255, (20, 12, 12, 1), dtype=np.uint8)
    data = load_dataset(embed((X, np.arange(20) % 2), net, tmp_path / "features").folder)
    model = Prototypes(random_state=0).fit(data.labeled, data.labels)
    model.save(tmp_path / "model")
    model = load(tmp_path / "model", net=net)
    assert model.image_shape_ == (12, 12, 1)
    Image.fromarray(X[0, :, :, 0]).save(tmp_path / "a.png")
    found = predict_files(model, tmp_path / "a.png")
    assert found.probabilities[0] == pytest.approx(model.predict_proba(X[:1]).max())


def test_any_name_of_a_class_is_written_so_that_it_can_be_read(tmp_path):
    write_predictions(Predictions(("a.png",), ("x\ry",), np.full(1, 0.5), ()), tmp_path / "found.csv")
    with (tmp_path / "found.csv").open(newline="") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["x\ry"]


def test_a_closed_standard_output_is_told_of(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(OSError, match="Bad file descriptor: 'standard output'"):
        write_predictions(Predictions(NAMES, ("cat", "dog", "cat"), np.full(3, 0.5), ()), None)
