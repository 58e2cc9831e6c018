"""The command line run in this process: to import PyTorch takes longer than most commands."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from fewlabels.cli import main


def run_here(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Return a command that has ended in a folder, which has its cache too."""
    typed = ["fewlabels", *map(str, words)]
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        patch.chdir(folder)
        patch.setenv("FEWLABELS_CACHE", str(folder / "cache"))
        patch.setattr(sys, "argv", typed)
        with pytest.raises(SystemExit) as stop:
            main()
    return subprocess.CompletedProcess(typed, stop.value.code, out.getvalue(), errors.getvalue())
