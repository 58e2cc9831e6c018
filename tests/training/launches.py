"""Starts what is to run in several processes, as people do: by `torchrun`, or by `accelerate launch`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"
# Launchers say much of their own; what is tested is what fewlabels says.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE), "TORCH_CPP_LOG_LEVEL": "ERROR"}
PATIENCE = 1800


def torchrun(processes: int, *words: object, options: tuple[str, ...] = ("--standalone",)) -> list[str]:
    """Return the command that starts a script, or `-m` and a module, in so many processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", *options, f"--nproc-per-node={processes}"]
    return launcher + [str(word) for word in words]


def ended(command: list[str], folder: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Return a command that has ended, with more variables in its environment."""
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT | more, cwd=folder, timeout=PATIENCE)


def succeeded(command: list[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Return a command that has ended well."""
    found = ended(command, folder)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    return found
