from __future__ import annotations

import socket
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shortened import connect_nowhere, defaults, small_nets

from fewlabels.methods import settings
from fewlabels.nets import registry

# Small squares keep their size, and take little to learn.
SIDE = 12
COLORS = {"shirt": (200, 60, 40), "shoe": (40, 80, 200)}


@pytest.fixture
def place_of_a_reader(tmp_path, monkeypatch):
    """A folder to run blocks in: with `my-photos`, `new-photos`, and `fewlabels` on the path, trainings cut short."""
    photos = np.random.default_rng(0)
    for part, count in (("train", 22), ("test", 6), ("unlabeled", 12)):
        for name, color in COLORS.items():
            for number in range(count):
                below = Path(part) if part == "unlabeled" else Path(part) / name
                write_photo(tmp_path / "my-photos" / below / f"{name}-{number}.jpg", color, photos)
    for name, color in COLORS.items():
        write_photo(tmp_path / "new-photos" / f"a-{name}.jpg", color, photos)
    write_shards(tmp_path / "my-shards", sorted((tmp_path / "my-photos" / "unlabeled").glob("*.jpg")))
    command = tmp_path / "bin" / "fewlabels"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("shortened.py")}" "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(Path(settings.__file__).parents[2]))
    monkeypatch.setenv("FEWLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(socket.socket, "connect", connect_nowhere)
    for name, steps in defaults().items():
        monkeypatch.setattr(settings, name, steps)
    for name, encoder in small_nets().items():
        monkeypatch.setitem(registry._ENCODERS, name, encoder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_shards(folder, photos):
    folder.mkdir()
    for number in range(2):
        with tarfile.open(folder / f"{number}.tar", "w") as archive:
            for path in photos[number::2]:
                archive.add(path, path.name)


def write_photo(path, color, generator):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.clip(np.array(color) + generator.integers(-40, 40, (SIDE, SIDE, 3)), 0, 255)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
