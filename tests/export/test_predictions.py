"""Classes of files, as other programs read them."""

import csv

import numpy as np
import pyarrow.parquet as pq

from fewlabels.export import Predictions, write_predictions

# The first as Python names a file whose name is no UTF-8.
NAMES = ("caf\udce9.png", "back\rspace.png", "a, b.png")


def test_any_name_of_a_file_is_written_so_that_it_can_be_read(tmp_path):
    found = Predictions(NAMES, ("cat", "dog", "cat"), np.full(3, 0.5), ())
    write_predictions(found, tmp_path / "found.csv")
    with (tmp_path / "found.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        assert [row["file"] for row in csv.DictReader(file)] == list(NAMES)
    write_predictions(found, tmp_path / "found.parquet")
    assert pq.read_table(tmp_path / "found.parquet")["file"].to_pylist() == [r"caf\xe9.png", *NAMES[1:]]


def test_any_name_of_a_class_is_written_so_that_it_can_be_read(tmp_path):
    write_predictions(Predictions(("a.png",), ("x\ry",), np.full(1, 0.5), ()), tmp_path / "found.csv")
    with (tmp_path / "found.csv").open(newline="") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["x\ry"]
