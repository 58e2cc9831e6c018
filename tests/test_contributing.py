"""The method of CONTRIBUTING.md, added the way the page says, works."""

import re
import textwrap
from pathlib import Path

import numpy as np

import fewlabels
from fewlabels.methods import registry


def test_the_method_of_the_contributing_page_learns_and_is_saved(few_labels, tmp_path, monkeypatch):
    page = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    place = {"__name__": "contributed"}
    exec(textwrap.dedent(block), place)
    method = place["EntropyMinimization"]
    monkeypatch.setitem(registry.METHODS, registry.method_name(method), method)
    X, y, test, truth = few_labels
    fitted = fewlabels.make_method("entropy-minimization", steps=60, random_state=0).fit(X, y)
    assert fitted.score(test, truth) > 0.5
    assert "entropy" in fitted.history_[-1]
    fitted.save(tmp_path / "model")
    assert np.array_equal(fewlabels.load(tmp_path / "model").predict(test), fitted.predict(test))
