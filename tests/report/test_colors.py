"""Colors that can be told from the page, and from each other by people who see fewer of them."""

from __future__ import annotations

import re
from importlib import resources
from itertools import combinations

import numpy as np
import pytest

SHEET = resources.files("fewlabels.report").joinpath("templates/style.css.j2").read_text(encoding="utf-8")
MARKS = [f"k{n}" for n in range(6)]
# Linear RGB as seen without one kind of cone (Viénot, Brettel & Mollon, 1999).
SEEN = {
    "all": np.eye(3),
    "protanopia": [[0.1120, 0.8853, -0.0005], [0.1126, 0.8897, -0.0001], [0.0045, -0.0045, 1.0019]],
    "deuteranopia": [[0.2920, 0.7054, -0.0003], [0.2934, 0.7089, 0.0000], [-0.0210, 0.0256, 0.9921]],
}


def colors_of(name):
    block = SHEET[SHEET.index(f"macro {name}()") :]
    block = block[: block.index("endmacro")]
    return {key: linear(value) for key, value in re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", block)}


def linear(text):
    values = np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    lights = sorted(float(color @ [0.2126, 0.7152, 0.0722]) for color in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def lab(color):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ color.clip(0, 1)
    f = np.cbrt(xyz / [0.9505, 1.0, 1.089] + 1e-9)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_and_marks_stand_out_from_the_page(theme):
    colors = colors_of(theme)
    for name in ("ink", "muted", "first", "second", "good", "bad", "wrong"):
        assert contrast(colors[name], colors["page"]) >= 4.5, name
        assert contrast(colors[name], colors["tint"]) >= 4.5, name
    for name in (*MARKS, "edge"):
        assert contrast(colors[name], colors["page"]) >= 3, name
    # Numbers on the darkest cell of the confusion matrix.
    assert contrast(colors["ink"], colors["cell"]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("eyes", SEEN)
def test_the_maps_colors_differ_also_for_the_color_blind(theme, eyes):
    seen = {name: lab(np.array(SEEN[eyes]) @ colors_of(theme)[name]) for name in MARKS}
    nearest = min(combinations(MARKS, 2), key=lambda two: np.linalg.norm(seen[two[0]] - seen[two[1]]))
    assert np.linalg.norm(seen[nearest[0]] - seen[nearest[1]]) > 12, nearest
