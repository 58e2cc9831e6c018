from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
from served import CLASSES, photo

from fewlabels import Supervised, load_dataset
from fewlabels.methods.examples import remember
from prestarted import context_as_spawned


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with `photos` and a `model` of them."""
    folder = tmp_path_factory.mktemp("served")
    for part, count in (("train", 12), ("test", 2), ("unlabeled", 40)):
        for number, name in enumerate(CLASSES):
            place = folder / "photos" / part / ("" if part == "unlabeled" else name)
            place.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                photo(name, 100 * number + index).save(place / f"{number}-{index}.png")
    data = load_dataset(str(folder / "photos"), image_size=16, cache_dir=folder / "cache")
    method = Supervised(steps=6, batch_size=16, validation_fraction=0.34, random_state=0)
    method.fit(data.labeled, data.labels, unlabeled=data.pool)
    remember(method, data)
    method.save(folder / "model", class_names=list(data.class_names))
    return folder


@pytest.fixture
def place(trained, tmp_path, monkeypatch):
    """A copy of the model, to be trained again; its photos are where they were."""
    monkeypatch.setenv("FEWLABELS_CACHE", str(trained / "cache"))
    shutil.copytree(trained / "model", tmp_path / "model")
    return tmp_path


@pytest.fixture
def quick_starts(monkeypatch):
    """Have trainings of a service in this process begin where what takes long is imported.

    Those of `test_retraining.py`, and of servers in a process of their own, start a new interpreter as always.
    """
    here = SimpleNamespace(get_context=lambda kind: context_as_spawned())
    monkeypatch.setattr("fewlabels.serving.retraining.multiprocessing", here)
