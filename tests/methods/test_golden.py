"""Models written by earlier versions load, and predict as they did."""

import json
from pathlib import Path

import numpy as np
import pytest

import fewlabels
from fewlabels.methods.saved import FORMAT_VERSION

GOLDEN = Path(__file__).parent.parent / "golden"
VERSIONS = sorted(int(path.name) for path in GOLDEN.iterdir() if path.name.isdigit())


def test_there_is_a_folder_for_every_format_version():
    assert list(range(1, FORMAT_VERSION + 1)) == VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["vectors", "images", "patches"])
def test_a_model_of_an_earlier_version_predicts_as_it_did(version, name):
    import importlib.util

    spec = importlib.util.spec_from_file_location("golden", GOLDEN / "write.py")
    write = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(write)
    folder = GOLDEN / str(version)
    assert json.loads((folder / name / "config.json").read_text())["format_version"] == version
    expected = json.loads((folder / f"{name}.json").read_text())
    model = fewlabels.load(folder / name)
    X = write.samples(name)[:4]
    # Another processor may add in another order.
    assert np.allclose(model.predict_proba(X), expected["probabilities"], atol=1e-5)
    assert model.predict(X).tolist() == expected["classes"]
