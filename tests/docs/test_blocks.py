"""Every Python and shell block of README.md, CONTRIBUTING.md and docs/ runs, page by page, from top to bottom.

Trainings are cut to a few steps of a narrow net (`shortened.py`); nothing else differs from what a reader types. A
block that cannot run in a test has a line `<!-- skip: next "the reason" -->` before it.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import unittest
from pathlib import Path

import pytest
from shortened import with_short_budget
from sybil import Document
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from fewlabels import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# How many blocks of a page do not run. It is to stay short.
NOT_RUN = {
    "README.md": 1,
    "docs/everyday.md": 1,
    "docs/index.md": 1,
    "docs/notebook.md": 1,
    "docs/pretrained.md": 1,
    "docs/scaling.md": 2,
    "docs/sharing.md": 1,
}


def run_in_shell(example):
    """Run each command of a block: `fewlabels` in this process, which has loaded PyTorch already, all else in bash."""
    for line in str(example.parsed).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["fewlabels"] and not set(line) & set("|;&<>$`*"):
            code = run_here(words)
        else:
            code = subprocess.run(["bash", "-euo", "pipefail", "-c", line], timeout=600, check=False).returncode
        assert code == 0, f"{example.path}:{example.line}: {line!r} ended with code {code}"


def run_here(words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", with_short_budget(words))
        try:
            cli.main()
        except SystemExit as end:
            return end.code
    return 0


def read_toml(example):
    tomllib.loads(example.parsed)


def read(path):
    shell, toml = CodeBlockParser("sh", run_in_shell), CodeBlockParser("toml", read_toml)
    return Document.parse(str(path), SkipParser(), PythonCodeBlockParser(), shell, toml)


def run(path):
    """Run the blocks of a page in order, with the names that those before have left; return how many were skipped."""
    skipped = 0
    for example in read(path):
        try:
            example.evaluate()
        except unittest.SkipTest:
            skipped += 1
    return skipped


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.skipif(shutil.which("bash") is None, reason="the blocks are for bash, which is not here")
# A few steps are too few to learn anything, and the warnings say so.
@pytest.mark.filterwarnings("ignore::fewlabels.TrainingWarning")
@pytest.mark.parametrize("path", [path for path in PAGES if list(read(path))], ids=name_of)
def test_the_blocks_of_a_page_run(path, place_of_a_reader):
    assert run(path) == NOT_RUN.get(name_of(path), 0)


@pytest.mark.parametrize(
    "block",
    [
        "```python\nraise ValueError\n```",
        "```sh\nfewlabels fit no-such-folder\n```",
        "```sh\nfalse\ntrue\n```",
        "```sh\nfewlabels fit no-such-folder | cat\n```",
        "1. in a list\n\n    ```python\n    assert False\n    ```",
        "```python\nimport socket\nwith socket.socket() as line:\n    line.connect(('127.0.0.1', 9))\n```",
    ],
)
def test_a_block_that_fails_is_noticed(block, place_of_a_reader):
    page = place_of_a_reader / "page.md"
    page.write_text(f"# A page\n\n{block}\n")
    with pytest.raises((ValueError, AssertionError)):
        run(page)
    if not block.startswith("1."):
        page.write_text(f'# A page\n\n<!-- skip: next "it fails" -->\n\n{block}\n')
        assert run(page) == 1


def test_every_block_says_what_it_is_and_every_skip_why():
    for path in PAGES:
        text = path.read_text()
        fences = re.findall(r"^ *```(.*)\n", text, re.MULTILINE)
        kinds = {opening.strip() for opening in fences[::2]}
        assert kinds <= {"python", "sh", "text", "toml"}, f"{name_of(path)} has blocks of {kinds}"
        assert set(fences[1::2]) <= {""}, f"{name_of(path)}: a block is not closed"
        reasons = re.findall(r'^ *<!-- skip: next "[^"]{10,}" -->$', text, re.MULTILINE)
        assert len(reasons) == len(re.findall("^ *<!--+ *skip", text, re.MULTILINE)), (
            f"{name_of(path)}: give the reason"
        )
        assert len(reasons) == NOT_RUN.get(name_of(path), 0), f"{name_of(path)} skips {len(reasons)} blocks"
