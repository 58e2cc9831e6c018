from __future__ import annotations

import builtins
import errno
import gc
import io
import sys
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.manifold import TSNE

from browser import chromium, new_tab
from fewlabels.cli import main
from fewlabels.nets import registry
from fewlabels.nets.fast import FastNet
from fewlabels.report import feature_map

__all__ = ["chromium", "new_tab"]

# What is imported, PyTorch above all, stays: to look through it for garbage took a third of the time to find all tests.
gc.disable()


def pytest_collection_finish():
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _one_thread():
    # Tests are many tiny trainings: a second thread costs more in handing over than it brings.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


NARROW = partial(FastNet, widths=(8, 16, 32))


@pytest.fixture
def narrow_net(monkeypatch):
    """Make the default net a quarter as wide, for tests of what does not depend on it: most of their time is its."""
    monkeypatch.setitem(registry._ENCODERS, "fast", NARROW)


@pytest.fixture
def bare_net(monkeypatch, narrow_net):
    """Make it as small as it can be, also in a file of narrow ones, for tests of how many steps are made."""
    monkeypatch.setitem(registry._ENCODERS, "fast", partial(FastNet, widths=(4,)))


@pytest.fixture
def whole_net(monkeypatch, narrow_net):
    """Make it as users get it, in a file of narrow ones: as in other processes, or where these learn too little."""
    monkeypatch.setitem(registry._ENCODERS, "fast", FastNet)


@pytest.fixture(scope="module")
def narrow_nets():
    """The same for all tests of a file whose fixtures train too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._ENCODERS, "fast", NARROW)
        yield


_ITERATIONS = feature_map._ITERATIONS


class _HastyTSNE(TSNE):
    _EXPLORATION_MAX_ITER = 5
    _parameter_constraints = TSNE._parameter_constraints | {"max_iter": [int]}


# For the whole session, since fixtures of modules make reports too, which are compared with those of their tests.
@pytest.fixture(scope="session", autouse=True)
def _hasty_maps():
    """Make a report's maps in ten steps: each takes longer than many a test's trainings, and few tests look at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_map, "TSNE", _HastyTSNE)
        patch.setattr(feature_map, "_ITERATIONS", 10)
        yield


@pytest.fixture
def whole_maps(monkeypatch):
    """Make maps as users get them."""
    monkeypatch.setattr(feature_map, "TSNE", TSNE)
    monkeypatch.setattr(feature_map, "_ITERATIONS", _ITERATIONS)


@pytest.fixture(scope="session")
def digits():
    """Images (1797, 8, 8) in [0, 1] and labels."""
    bunch = load_digits()
    return (bunch.images / 16).astype(np.float32), bunch.target


@pytest.fixture
def few_labels(digits):
    """150 digits: 60 labeled, the rest marked -1; and 300 others to test on."""
    images, labels = digits
    y = labels[:150].copy()
    y[60:] = -1
    return images[:150], y, images[1000:1300], labels[1000:1300]


@pytest.fixture
def color_images():
    """Forty 16x16 color images of two classes that differ in hue, uint8, and their labels."""
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 2
    images = generator.integers(0, 120, (40, 16, 16, 3))
    images[labels == 0, :, :, 0] += 120
    images[labels == 1, :, :, 2] += 120
    return images.astype(np.uint8), labels


@pytest.fixture
def photos(tmp_path):
    """A folder of red and blue photos, ten labeled of each, six in the pool."""
    generator = np.random.default_rng(0)
    for part, count in (
        ("train/red", 10),
        ("train/blue", 10),
        ("unlabeled", 6),
        ("test/red", 4),
        ("test/blue", 4),
    ):
        place = tmp_path / "photos" / part
        place.mkdir(parents=True)
        for index in range(count):
            pixels = generator.integers(0, 100, (16, 16, 3))
            pixels[..., 2 if "blue" in part else 0] += 150
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"{index}.png")
    return tmp_path / "photos"


@pytest.fixture
def aged():
    """Return what lets a minute pass since a folder changed, so that it is remembered."""
    with pytest.MonkeyPatch.context() as patch:
        # Nobody can set when a file was last changed.
        clock = SimpleNamespace(time_ns=lambda: time.time_ns() + 60 * 10**9)
        yield lambda: patch.setattr("fewlabels.data.listing.time", clock)


@pytest.fixture
def refused(monkeypatch):
    """Return what keeps Python from opening a file, as its mode does, but not for root."""
    paths, opened = set(), io.open

    def checked(file, *arguments, **options):
        if str(file) in paths:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return opened(file, *arguments, **options)

    for module in (io, builtins):
        monkeypatch.setattr(module, "open", checked)
    return lambda path: paths.add(str(path))


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the command line in this process, in a folder of its own; return exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["fewlabels", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call
