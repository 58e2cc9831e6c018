"""A disk that is full: a small one of its own, which commands fill as a person would."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fewlabels
from command_line import run_here

SIZE = 12 << 20


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """A file system of 12 MB."""
    # Where models go that it has no room for.
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield place
    # Lazily: weights that were loaded from it are mapped into the memory of this process.
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def photos(tmp_path):
    """Photos whose decoded pixels take 3 MB."""
    generator = np.random.default_rng(0)
    for name in ("red", "blue"):
        (tmp_path / "photos" / "train" / name).mkdir(parents=True)
        for index in range(130):
            pixels = generator.integers(0, 255, (64, 64, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / "train" / name / f"{index}.jpg")
    return tmp_path / "photos"


def fill(disk, left):
    """Take all room but so many bytes."""
    room = shutil.disk_usage(disk).free - left
    (disk / "filler").write_bytes(bytes(max(0, room)))


def run(disk, *commands, cache):
    ended = [run_here(disk, *command, cache=cache) for command in commands]
    return [(one.returncode, one.stdout, one.stderr) for one in ended]


def last_line(errors):
    assert "Traceback" not in errors
    return errors.strip().splitlines()[-1]


def test_a_full_disk_leaves_the_old_state_and_is_told_with_path_and_need(small_disk, photos, tmp_path):
    fit = ("fit", "digits", "--method", "supervised", "--steps", 3, "--out", "model", "-q")
    compare = ("compare", "digits", "--methods", "supervised", "--steps", 2, "--no-check", "-q", "--out")
    net = f"python:{Path(__file__).parent / 'small_backbones.py'}:colors"
    ((code, _, errors),) = run(small_disk, fit, cache=tmp_path / "cache")
    assert code == 0, errors
    before = {path.name: path.read_bytes() for path in (small_disk / "model").iterdir()}
    fill(small_disk, left=60_000)
    found = run(
        small_disk,
        fit,
        (*compare, "compared"),
        ("embed", photos, "--net", net, "--views", 20, "--out", "features", "-q"),
        ("predict", "model", photos, "--out", "many.csv", "-q"),
        cache=tmp_path / "cache",
    )
    for (code, output, errors), path in zip(found[:3], ("model", "compared", "features"), strict=True):
        assert code == 1, errors
        line = last_line(errors)
        assert line.startswith("error: No space left on device"), line
        assert path in line
        assert output == ""
    assert {path.name: path.read_bytes() for path in (small_disk / "model").iterdir()} == before
    assert fewlabels.load(small_disk / "model").classes_.tolist() == list(range(10))
    left = {path.name for path in small_disk.iterdir()}
    assert left <= {"filler", "model", "model.checkpoint", "compared", "features", "many.csv"}
    assert not list(small_disk.rglob(".*tmp*"))
    (small_disk / "filler").unlink()
    again = run(small_disk, (*fit, "--resume"), (*compare, "compared", "--overwrite"), cache=tmp_path / "cache")
    assert [code for code, *_ in again] == [0, 0], again


def test_a_model_that_a_full_disk_has_no_room_for_is_saved_elsewhere(small_disk, tmp_path):
    fill(small_disk, left=60_000)
    fit = ("fit", "digits", "--method", "supervised", "--steps", 3, "--out", "model", "-q")
    ((code, _, errors),) = run(small_disk, fit, cache=tmp_path / "cache")
    assert code == 1, errors
    (place,) = (tmp_path / "temporary").glob("fewlabels-*/model")
    assert last_line(errors).endswith(f": model; the model is saved in {place} instead")
    assert fewlabels.load(place).classes_.tolist() == list(range(10))
    # Nothing is there that could be gone on with.
    assert "; none is kept" in errors
    assert "goes on" not in errors
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_what_was_found_out_is_told_where_a_full_disk_has_no_room_for_its_file(small_disk, photos, tmp_path):
    fit = ("fit", photos, "--method", "supervised", "--labels-per-class", 5, "--steps", 3, "--out", "model", "-q")
    ((code, _, errors),) = run(small_disk, fit, cache=tmp_path / "cache")
    assert code == 0, errors
    fill(small_disk, left=0)
    found = run(
        small_disk,
        ("evaluate", "model", "--card", "-q"),
        ("evaluate", "model", "--card", "-q", "--json"),
        ("label", "model", "--out", "table.csv", "-q"),
        ("label", "model", "--out", "table.csv", "-q", "--json"),
        ("predict", "model", photos / "train" / "red" / "1.jpg", "--out", "classes.csv", "-q"),
        ("predict", "model", photos / "train" / "red" / "1.jpg", "--out", "classes.csv", "-q", "--json"),
        cache=tmp_path / "cache",
    )
    paths = [name for name in ("config.json", "table.csv", "classes.csv") for _ in range(2)]
    for (code, _, errors), path in zip(found, paths, strict=True):
        assert code == 1, errors
        line = last_line(errors)
        assert line.startswith("error: No space left on device")
        assert path in line
    assert "test accuracy" in found[0][1]
    assert json.loads(found[1][1])["test_images"] > 0
    assert "probability" in found[2][1]
    assert "table.csv" not in found[2][1]
    assert json.loads(found[3][1])["out"] is None
    assert "1.jpg" in found[4][1]
    answer = json.loads(found[5][1])
    assert (len(answer["predictions"]), answer["out"]) == (1, None)


def test_a_cache_on_a_full_disk_is_told_with_its_path_and_need(small_disk, photos, tmp_path):
    fill(small_disk, left=500_000)
    words = ("fit", photos, "--method", "supervised", "--steps", 1, "--image-size", 64, "--out", tmp_path / "m", "-q")
    ((code, _, errors),) = run(tmp_path, words, cache=small_disk / "cache")
    assert code in (1, 2)
    line = last_line(errors)
    assert line.startswith("error: ")
    assert str(small_disk / "cache") in line
    assert "MB" in line or "No space left" in line
    assert not (tmp_path / "m").exists()


def test_a_disk_of_its_own_is_no_place_for_a_model_which_is_said_before_the_training(small_disk, tmp_path):
    message = "is a mount point, which cannot be replaced as a whole; give a folder in it:"
    refused = [(2, "", f"error: {small_disk} {message} {small_disk}/model\n")]
    words = ("fit", "digits", "--steps", 10**9, "--out", small_disk)
    assert run(tmp_path, words, cache=tmp_path / "cache") == refused
    images = np.random.default_rng(0).integers(0, 255, (8, 8, 8, 3)).astype(np.uint8)
    model = fewlabels.Supervised(steps=1, batch_size=4, random_state=0).fit(images, [0, 1] * 4)
    shutil.copytree(model.save(tmp_path / "model"), small_disk, dirs_exist_ok=True)
    assert run(tmp_path, words, cache=tmp_path / "cache") == refused
