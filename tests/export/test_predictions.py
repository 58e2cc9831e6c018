from __future__ import annotations

import io
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from fewlabels.export import Predictions, write_predictions


@pytest.fixture
def predictions():
    # As Python names a file whose name is no UTF-8: caf\xe9.png.
    return Predictions(("caf\udce9.png",), ("cat",), np.array([0.5]), ())


def test_a_file_name_that_is_no_text_can_be_written_as_parquet(predictions, tmp_path):
    write_predictions(predictions, tmp_path / "classes.parquet")
    (row,) = pq.read_table(tmp_path / "classes.parquet").to_pylist()
    assert row == {"file": "caf\\xe9.png", "class": "cat", "probability": 0.5}


def test_a_file_name_that_is_no_text_comes_to_the_screen_as_it_is(predictions, monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", screen)
    write_predictions(predictions, None)
    screen.flush()
    assert screen.buffer.getvalue() == b"file,class,probability\ncaf\xe9.png,cat,0.5000\n"
