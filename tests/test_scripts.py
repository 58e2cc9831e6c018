"""What scripts rely on: one JSON document on standard output, plain text where it is asked for, exit codes."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fewlabels
from command_line import run_here
from fewlabels.cli.app import starting
from prestarted import Started, starting_fewlabels

NET = f"python:{Path(__file__).parent / 'small_backbones.py'}:colors"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with photos of two colors."""
    folder = tmp_path_factory.mktemp("scripts")
    generator = np.random.default_rng(0)
    for part, count in (("train/red", 12), ("train/blue", 12), ("unlabeled", 4), ("test/red", 3), ("test/blue", 3)):
        (folder / "photos" / part).mkdir(parents=True)
        for index in range(count):
            pixels = generator.integers(0, 100, (12, 12, 3))
            pixels[..., 2 if "blue" in part else 0] += 150
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / part / f"{index}.png")
    return folder


def run_all(place, *commands):
    """Return exit code and standard output of each command, and standard error of all."""
    ended = [run_here(place, *command) for command in commands]
    return [(one.returncode, one.stdout) for one in ended], "".join(one.stderr for one in ended)


def test_every_command_answers_with_one_json_document(place):
    (place / "photos" / "unlabeled" / "broken.png").write_bytes(b"junk")
    commands = [
        ("datasets", "--json"),
        ("methods", "--json"),
        ("methods", "fix-match", "--json"),
        ("check", "photos", "--json"),
        ("fit", "photos", "--method", "supervised", "--steps", 3, "--out", "model", "--json"),
        ("evaluate", "model", "photos", "--json"),
        ("predict", "model", "photos/unlabeled", "--json"),
        ("predict", "model", "photos/test", "--out", "classes.csv", "--json"),
        ("export", "model", "--format", "torch", "--json"),
        ("embed", "photos", "--net", NET, "--out", "features", "--json"),
        ("label", "model", "photos", "--show", 2, "--json"),
        ("compare", "photos", "--methods", "supervised,uda", "--steps", 3, "--out", "compared", "--json"),
        ("report", "compared", "--out", "again.html", "--json"),
    ]
    found, errors = run_all(place, *commands)
    assert "\x1b" not in errors
    answers = {}
    for words, (code, output) in zip(commands, found, strict=True):
        assert code == 0 or words[0] == "check", (words, errors)
        assert output.count("\n") == 1
        assert output.endswith("\n")
        answers[words[:-1] if words[0] in ("methods", "predict") else words[0]] = json.loads(
            output, parse_constant=pytest.fail
        )
    assert {one["name"] for one in answers["datasets"]["datasets"]} >= {"digits", "stl10"}
    assert {one["name"] for one in answers["methods",]["methods"]} == set(fewlabels.METHODS)
    assert answers["methods", "fix-match"]["settings"]["threshold"] == 0.95
    assert answers["check"]["problems"] == sum(
        finding["severity"] != "note" for finding in answers["check"]["findings"]
    )
    assert answers["fit"]["model"] == "model"
    assert answers["fit"]["method"] == "supervised"
    assert answers["fit"]["stage_steps"] == {"classifier": 3}
    assert 0 <= answers["evaluate"]["test_accuracy"] <= 1
    predicted = answers["predict", "model", "photos/unlabeled"]
    assert [row["file"] for row in predicted["predictions"]] == [f"photos/unlabeled/{n}.png" for n in range(4)]
    assert predicted["skipped"] == [{"file": "photos/unlabeled/broken.png", "reason": "not an image"}]
    written = answers["predict", "model", "photos/test", "--out", "classes.csv"]
    assert written["out"] == "classes.csv"
    assert len(Path(place / "classes.csv").read_text().splitlines()) == 1 + len(written["predictions"])
    assert answers["export"] == {
        "file": "model.pt2",
        "format": "torch",
        "bytes": (place / "model.pt2").stat().st_size,
    }
    assert answers["embed"]["images"] == 34
    assert answers["compare"]["report"] == "compared/report.html"
    assert [run["method"] for run in answers["compare"]["runs"]] == ["supervised", "uda"]
    assert answers["compare"]["verdicts"]
    assert len(answers["label"]["next"]) == 2
    assert answers["report"] == {"report": "again.html"}


def test_what_anything_else_prints_does_not_come_between(place):
    net = place / "chatty.py"
    net.write_text("import torch\n\ndef make():\n    print('hello from a net')\n    return torch.nn.Conv2d(3, 4, 3)\n")
    words = ("embed", "photos", "--net", f"python:{net}:make", "--out", "chatty", "--json")
    ((code, output),), errors = run_all(place, words)
    assert code == 0
    assert json.loads(output)["images"] == 34
    assert "hello from a net" in errors


def test_an_error_leaves_standard_output_empty(place):
    found, errors = run_all(place, ("fit", "nowhere", "--json"), ("compare", "--steps", "0", "--json"))
    assert found == [(2, ""), (2, "")]
    assert errors.count("error: ") == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
@pytest.mark.parametrize("words", [("datasets",), ("datasets", "--json")])
def test_what_cannot_be_printed_for_lack_of_room_is_told_to_be_that(words, place):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "fewlabels", *words]
        ended = subprocess.run(command, cwd=place, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (1, "error: No space left on device: standard output\n")


def test_a_closed_standard_output_is_told_of(place):
    command = f"exec {sys.executable} -m fewlabels datasets --json >&-"
    ended = subprocess.run(command, shell=True, cwd=place, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (1, "error: Bad file descriptor: standard output\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_device_that_is_written_to_is_named_where_it_is_full(place):
    found, errors = run_all(
        place,
        ("fit", "photos", "--method", "supervised", "--steps", 1, "--out", "small", "-q"),
        ("export", "small", "--out", "/dev/full", "--format", "torch"),
    )
    assert [code for code, _ in found] == [0, 1]
    assert "No space left on device: /dev/full" in errors


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="there is no folder in which nobody may write")
def test_where_caches_cannot_be_written_the_way_out_is_told(place):
    environment = {name: value for name, value in os.environ.items() if name != "FEWLABELS_CACHE"}
    words = [sys.executable, "-m", "fewlabels", "check", "photos"]
    ended = subprocess.run(
        words, cwd=place, env=environment | {"XDG_CACHE_HOME": "/sys"}, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr.endswith(": /sys/fewlabels; set FEWLABELS_CACHE to a folder that can be written to\n")


@pytest.mark.parametrize("variable", ["FEWLABELS_CACHE", "XDG_CACHE_HOME"])
def test_where_the_cache_is_a_file_the_way_out_is_told(run, photos, tmp_path, monkeypatch, variable):
    (tmp_path / "file").touch()
    monkeypatch.delenv("FEWLABELS_CACHE")
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    code, _, errors = run("check", photos)
    assert (code, errors.count("\n")) == (1, 1)
    assert errors.endswith("; set FEWLABELS_CACHE to a folder that can be written to\n")


def test_quiet_prints_results_alone(place):
    words = ("fit", "photos", "--method", "supervised", "--steps", 2, "--out", "quiet", "-q")
    found, errors = run_all(place, words, ("embed", "photos", "--net", NET, "--out", "features-quiet", "-q"))
    assert found[0][1].startswith("model saved in quiet: ")
    assert "next:" not in found[0][1] + found[1][1]
    assert "note:" not in errors


def test_what_goes_wrong_in_training_is_told_once(place):
    words = ("fit", "photos", "--method", "supervised", "--budget", "1k images", "--out", "short")
    ((code, output),), errors = run_all(place, words)
    assert code == 0
    assert errors.count("is enough for") == 1
    assert "is enough for" not in output


def in_a_terminal(begin, **environment):
    """Return what a command writes to a terminal, which `begin` is given with all variables, and its exit code."""
    terminal, end = pty.openpty()
    process = begin(end, os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"} | environment)
    shown, deadline = b"", time.monotonic() + 300
    try:
        while process.poll() is None or select.select([terminal], [], [], 0)[0]:
            assert time.monotonic() < deadline
            if select.select([terminal], [], [], 0.1)[0]:
                shown += os.read(terminal, 65536)
    finally:
        process.kill()
        os.close(terminal)
        os.close(end)
    return shown.decode(), process.poll()


def prestarted(place, words):
    """Return what begins a command in a process that has imported PyTorch."""

    def begin(end, environment):
        screen = Path(os.ttyname(end))
        return Started(starting_fewlabels, words, folder=place, environment=environment, out=screen, errors=screen)

    return begin


@pytest.fixture
def cached(place, monkeypatch):
    monkeypatch.setenv("FEWLABELS_CACHE", str(place / "cache"))


FIT = ("fit", "photos", "--method", "supervised", "--steps", "30", "--out")


@pytest.mark.usefixtures("cached")
def test_a_terminal_gets_a_bar_and_color(place):
    def begin(end, environment):
        words = [sys.executable, "-m", "fewlabels", *FIT, "t"]
        return subprocess.Popen(words, cwd=place, env=environment, stdin=end, stdout=end, stderr=end)

    shown, code = in_a_terminal(begin, TERM="xterm-256color", NO_COLOR="")
    assert code == 0
    assert "\x1b[" in shown
    # What it waits for in the first seconds is said, and taken away before anything else stands there.
    said, starts, after = shown.rpartition("starting")
    assert starts
    assert "30/30" not in said
    assert re.match(r"(\s|\x1b\[[?\d]*[A-Zh])*?\x1b\[2K", after)
    assert "30/30" in shown


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize("environment", [{"NO_COLOR": "1", "TERM": "xterm-256color"}, {"TERM": "dumb"}])
def test_a_terminal_that_wants_plain_text_gets_no_code_and_no_bar(environment, place):
    shown, code = in_a_terminal(prestarted(place, (*FIT, environment["TERM"])), **environment)
    assert code == 0, shown
    assert "\x1b" not in shown
    assert "30/30" not in shown
    assert "model saved in" in shown
    helped, _ = in_a_terminal(prestarted(place, ("fit", "--help")), **environment)
    assert "--track" in helped
    assert "\x1b" not in helped


@pytest.mark.usefixtures("cached")
def test_a_pipe_gets_no_code_and_no_bar(place):
    pipes = {name: place / name for name in ("out", "errors")}
    for pipe in pipes.values():
        os.mkfifo(pipe)
    ends = [os.open(pipe, os.O_RDONLY | os.O_NONBLOCK) for pipe in pipes.values()]
    environment = os.environ | {"TERM": "xterm-256color"}
    process = Started(starting_fewlabels, (*FIT, "piped"), folder=place, environment=environment, **pipes)
    code = process.wait(300)
    output, errors = (os.read(end, 65536).decode() for end in ends)
    for end in ends:
        os.close(end)
    assert code == 0
    assert "model saved in" in output
    assert "\x1b" not in output + errors
    assert "starting" not in errors
    assert "30/30" not in errors


def test_what_a_command_imports_is_not_looked_through_for_garbage():
    frozen = gc.get_freeze_count()
    with starting(library="torch"):
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen
    with contextlib.suppress(ImportError), starting(library="what is yet to be imported"):
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen


def test_characters_that_the_output_has_not_are_written_out(run, place, monkeypatch):
    shutil.copytree(place / "photos" / "train", place / "cjk" / "train")
    (place / "cjk" / "train" / "red").rename(place / "cjk" / "train" / "猫")
    monkeypatch.chdir(place)
    screen = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", screen)
    for words in (("fit", "cjk", "--method", "linear-probe", "--out", "cat"), ("predict", "cat", "cjk/train")):
        assert run(*words)[0] == 0
    screen.flush()
    assert b"\\u732b" in screen.buffer.getvalue()


def test_a_model_is_measured_on_what_it_learned_from_where_nothing_else_is_said(place):
    words = ("fit", "photos", "--method", "linear-probe", "--out", "own", "--quiet")
    found, errors = run_all(place, words, ("evaluate", "own", "--json"), ("evaluate", "own", "photos", "--json"))
    assert [code for code, _ in found] == [0, 0, 0], errors
    assert found[1][1] == found[2][1]
    assert json.loads(found[1][1])["test_images"] == 6


def test_a_place_where_no_model_can_be_saved_is_refused_before_anything_is_learned(place):
    found, errors = run_all(place, ("fit", "photos", "--method", "supervised", "--steps", 100_000, "--out", "photos"))
    assert found == [(2, "")]
    assert "holds other files and no model" in errors
    assert not (place / "photos.checkpoint").exists()
