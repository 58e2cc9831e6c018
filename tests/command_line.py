"""The command line run in this process: to import PyTorch takes longer than most commands."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from fewlabels.cli import main


def run_here(folder: Path, *words: object, cache: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Return a command that has ended in a folder; its cache is there too, where no other is given."""
    typed = ["fewlabels", *map(str, words)]
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        patch.chdir(folder)
        patch.setenv("FEWLABELS_CACHE", str(cache or folder / "cache"))
        patch.setenv("COLUMNS", "300")
        patch.setattr(sys, "argv", typed)
        with pytest.raises(SystemExit) as stop:
            main()
    return subprocess.CompletedProcess(typed, stop.value.code, out.getvalue(), errors.getvalue())
