"""A real comparison of ten runs, as large as CIFAR's images, stays a page that can be mailed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import fewlabels
from fewlabels.data import Diagnostics, ImageDataset
from fewlabels.data.rows import ImageRows
from fewlabels.evaluation.pool_sample import PoolSample
from fewlabels.report import render_report

METHODS = ["supervised", "pseudo-label", "pi-model", "linear-probe", "prototypes"]
CLASSES = 10


def noisy(count, seed):
    """Images of noise around a color for each class: noise is what WebP makes least small."""
    draws = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    colors = np.random.default_rng(0).integers(60, 196, (CLASSES, 1, 1, 3))
    images = np.clip(colors[labels] + draws.normal(0, 50, (count, 32, 32, 3)), 0, 255)
    return ImageRows(images.astype(np.uint8)), labels


def full_gallery(seed):
    images, guesses = noisy(160, seed)
    confidences = np.linspace(0.2, 1, 160).astype(np.float32)
    return PoolSample(guesses, confidences, guesses, np.arange(160), images[:], 5000, 5000)


@pytest.mark.usefixtures("narrow_net")
def test_ten_runs_on_32_pixel_color_images_are_under_five_megabytes(tmp_path):
    (labeled, labels), (pool, truth), (test, test_labels) = noisy(50, 1), noisy(400, 2), noisy(200, 3)
    names = tuple(f"class {n}" for n in range(CLASSES))
    data = ImageDataset("noise", "noise", names, labeled, labels, pool, test, test_labels, Diagnostics(truth))
    found = fewlabels.compare(data, methods=METHODS, seeds=2, steps=2, out=tmp_path / "run", check=False)
    assert len(found.runs) == 10
    assert (tmp_path / "run" / "report.html").stat().st_size < 5_000_000
    # The same with galleries as full as they get, each of other images.
    found.runs = [dataclasses.replace(run, pool_sample=full_gallery(number)) for number, run in enumerate(found.runs)]
    page = render_report(found)
    assert len(page.encode()) < 5_000_000
    assert "left out here" not in page
    assert page.count('class="map"') == len(METHODS)
    assert page.count("<img") >= 160 * len(METHODS)
