"""Completion as bash itself asks for it, and by a person's Tab in a terminal."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fewlabels
from fewlabels.cli.completion import model, model_or_source, several_of, source

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")

# As bash does it: the words of the line, and which of them is being typed.
ASK = """
eval "$(_FEWLABELS_COMPLETE=source_bash fewlabels)"
ask() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _fewlabels_completion fewlabels
    echo "${COMPREPLY[@]}"
}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with photos and a model, and `fewlabels` on the path."""
    (tmp_path / "here" / "photos" / "train").mkdir(parents=True)
    (tmp_path / "here" / "plain").mkdir()
    (tmp_path / "here" / "model").mkdir()
    (tmp_path / "here" / "model" / "model.safetensors").touch()
    for name in ("notes.txt", "table.pq", "table.Parquet"):
        (tmp_path / "here" / name).touch()
    (tmp_path / "here" / "fewlabels.toml").write_text("this is [no TOML")
    command = tmp_path / "bin" / "fewlabels"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom fewlabels.cli import main\nmain()\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(Path(fewlabels.__file__).parents[1]))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_completion_is_for_the_command_also_where_python_is_told_to_run_the_package(tmp_path):
    # Which shell it is for is seen by what calls it.
    words = ["bash", "-c", f"{sys.executable} -m fewlabels --show-completion; true"]
    script = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "python" not in script.stdout.lower()
    assert "_fewlabels_completion fewlabels" in script.stdout


def test_bash_is_offered_what_could_come_next(place):
    lines = {
        "fewlabels fit --method se": "self-training",
        "fewlabels compare --methods uda,fi": "uda,fix-match",
        "fewlabels fit di": "digits",
        "fewlabels fit p": "photos plain",
        "fewlabels fit photos/": "photos/train",
        "fewlabels fit ta": "table.Parquet table.pq",
        "fewlabels fit --net wrn": "wrn-28-2 wrn-37-2",
        "fewlabels fit --preset n": "notebook",
        "fewlabels compare --rungs probe,f": "probe,features probe,finetune",
        "fewlabels compare --track ''": "tensorboard mlflow",
        "fewlabels predict ''": "model",
        "fewlabels serve ''": "model",
        "fewlabels serve --source ph": "photos",
        "fewlabels export model --format ''": "onnx torch",
        "fewlabels methods free": "free-match",
        "fewlabels fit --tr": "--track",
        "fewlabels eva": "evaluate",
    }
    script = ASK + "\n".join(f"ask {line}" for line in lines)
    asked = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120)
    assert asked.stderr == ""
    assert dict(zip(lines, asked.stdout.splitlines(), strict=True)) == lines


def test_a_tab_in_a_terminal_completes_the_word(place):
    pid, terminal = pty.fork()
    if pid == 0:  # the child, which becomes the shell
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    try:
        typed = b'eval "$(_FEWLABELS_COMPLETE=source_bash fewlabels)"; echo rea""dy\n'
        assert read_until(terminal, b"ready", typed)
        assert read_until(terminal, b"self-training", b"fewlabels fit --method sel\t")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)


def read_until(terminal, expected, typed, seconds=60):
    os.write(terminal, typed)
    shown, deadline = b"", time.monotonic() + seconds
    while expected not in shown and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 4096)
    return expected in shown


@pytest.mark.parametrize(
    ("shell", "more", "expected"),
    [
        ("zsh", {}, '"self-training"'),
        ("fish", {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}, "self-training"),
    ],
)
def test_zsh_and_fish_are_answered_in_their_own_way(shell, more, expected, place):
    environment = os.environ | more | {"_FEWLABELS_COMPLETE": f"complete_{shell}"}
    environment["_TYPER_COMPLETE_ARGS"] = "fewlabels fit --method self"
    asked = subprocess.run(["fewlabels"], env=environment, capture_output=True, text=True, timeout=60)
    assert expected in asked.stdout
    script = subprocess.run(
        ["fewlabels"], env=environment | {"_FEWLABELS_COMPLETE": f"source_{shell}"}, capture_output=True, text=True
    )
    assert f"complete_{shell}" in script.stdout


def test_a_name_that_was_typed_is_not_offered_again():
    offered = several_of("methods.registry", "_ALL")("uda,")
    assert "uda,uda" not in offered
    assert "uda,vat" in offered


def test_a_folder_that_is_not_there_completes_to_nothing(place):
    assert source("no/such/folder/") == []


def test_completion_needs_no_torch(place):
    code = "import sys; from fewlabels.cli.completion import *; names_in('methods.registry', '_ALL'); source('d')"
    code += "; import fewlabels.cli; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_of_a_person_that_there_is_not_no_folder_is_offered():
    assert source("~nobody-is-called-so/") == []


def test_bash_quotes_itself_what_must_be_quoted_and_other_shells_are_offered_the_rest(place, monkeypatch):
    (place / "pho tos").mkdir()
    (place / "x$(touch made)").mkdir()
    assert source("pho") == ["photos"]
    assert source("x") == []
    monkeypatch.setenv("_FEWLABELS_COMPLETE", "complete_bash")
    assert source("pho") == []
    assert source("pl") == ["plain"]
    # Where names are known too: with these alone, no folder could be had by Tab.
    (place / "d photos").mkdir()
    (place / "my model").mkdir()
    (place / "my model" / "model.safetensors").touch()
    assert source("d") == source("") == model("") == model_or_source("my") == []
    monkeypatch.delenv("_FEWLABELS_COMPLETE")
    assert source("d") == ["digits"]
    assert model("my") == []


def test_a_folder_with_a_space_is_one_word_after_a_tab(place):
    (place / "my photos").mkdir()
    (place.parent / "bin" / "show").write_text("#!/bin/sh\nprintf '<%s>' \"$@\"; echo\n")
    (place.parent / "bin" / "show").chmod(0o755)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    try:
        typed = b'eval "$(_FEWLABELS_COMPLETE=source_bash fewlabels)"; echo rea""dy\n'
        assert read_until(terminal, b"ready", typed)
        # What is completed is what the shell then makes words of.
        assert read_until(terminal, b"photos/", b"fewlabels fit my\t")
        assert read_until(terminal, b"<fit><my photos/>", b"\x01show \x05\x01\x1bd\x1bdshow \x05\n")
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(terminal)
