"""A notebook, executed by a real kernel, and what is below its cells."""

from __future__ import annotations

import asyncio
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

import fewlabels
from fewlabels.methods.pool_quality import PoolQuality
from made_once import made_once

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

CELLS = [
    "import warnings; warnings.simplefilter('ignore', ResourceWarning)\n"
    "import fewlabels\ndata = fewlabels.load_dataset('digits', labels_per_class=10)\ndata",
    "fewlabels.check_dataset(data)",
    "method = fewlabels.Supervised(steps=5, random_state=0, verbose=True)\n"
    "method.fit(data.labeled, data.labels, unlabeled=data.pool)",
    "fewlabels.compare(data, methods=['supervised', 'uda'], steps=2, out='compared', check=False)",
    "import torch\nembedded = fewlabels.embed('digits', torch.nn.Conv2d(3, 4, 3), 'features', progress=True)\nembedded",
    "_.folder",
]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Outputs of the cells."""
    folder = made_once(tmp_path_factory, "notebook", execute)
    return nbformat.read(folder / "executed.ipynb", nbformat.NO_CONVERT).cells


def execute(folder):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # Of the packages that talk to the kernel.
        warnings.simplefilter("ignore")
        patch.setenv("PYTHONPATH", str(Path(fewlabels.__file__).parents[1]))
        patch.setenv("FEWLABELS_CACHE", str(folder / "cache"))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
        client.execute()
        for place in (folder / "executed.ipynb", os.environ.get("FEWLABELS_KEEP_NOTEBOOK")):
            if place:
                nbformat.write(notebook, place)
        # The client leaves its loop behind, which is noticed as a leak in whatever test comes next.
        asyncio.set_event_loop(None)


def html(cell):
    shown = [output for output in cell.outputs if output.output_type in ("execute_result", "display_data")]
    return "".join(output["data"].get("text/html", "") for output in shown)


def test_a_data_set_shows_its_parts_and_a_picture_of_each_class(executed):
    shown = html(executed[0])
    assert "digits" in shown
    assert ">100</td>" in shown
    assert shown.count("<img ") == 10
    assert shown.count('src="data:image/png;base64,') == 10


def test_a_check_shows_what_it_found(executed):
    shown = html(executed[1])
    assert "images looked at" in shown
    assert "no leak and no trap found" in shown or "<table>" in shown


def test_a_fit_shows_a_bar_that_is_full_and_stays(executed):
    bars = [output for output in executed[2].outputs if "<progress" in output.get("data", {}).get("text/html", "")]
    assert len(bars) == 1, "one that is changed, not one each event"
    assert '<progress value="5" max="5"' in bars[0]["data"]["text/html"]
    assert "5/5" in bars[0]["data"]["text/html"]
    assert not [output for output in executed[2].outputs if output.output_type == "stream"]


def test_a_method_shows_itself_as_any_estimator_of_scikit_learn(executed):
    shown = html(executed[2])
    assert "sk-estimator" in shown
    assert "Supervised" in shown


def test_a_comparison_shows_its_table_and_what_follows(executed):
    shown = html(executed[3])
    assert "<td" in shown
    assert "uda" in shown
    assert "compared/report.html" in shown
    assert "<li>" in shown


def test_no_cell_is_troubled_by_escape_codes_or_warnings(executed):
    for cell in executed:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert "\x1b" not in output.get("text", "")
            assert "ipywidgets" not in output.get("text", "")


def test_names_from_anywhere_are_text_in_a_table(tmp_path):
    images = np.zeros((8, 8, 8, 3), np.uint8)
    images[::2] = 200
    labels = np.array(["<script>alert(1)</script>", "a\u202eb"] * 4)
    data = fewlabels.load_dataset({"train": (images, labels), "test": (images, labels)})
    shown = data._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "\u202e" not in shown


def test_what_is_estimated_of_a_pool_is_shown():
    quality = PoolQuality(0.5, np.array([0.25, 0.75]), np.array([0.9, 0.1, 0.8]), np.array([True, False, True]))
    shown = quality._repr_html_()
    assert "at most 50.0% of 3 pool samples" in shown
    assert "0.750" in shown
