"""Starts what is to run in several processes: by `torchrun`, as people do, or without a launcher, in less time."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from prestarted import Started, module

SOURCE = Path(__file__).parents[2] / "src"
# Launchers say much of their own; what is tested is what fewlabels says.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE), "TORCH_CPP_LOG_LEVEL": "ERROR"}
PATIENCE = 1800


def torchrun(processes: int, *words: object, options: tuple[str, ...] = ("--standalone",)) -> list[str]:
    """Return the command that starts a script, or `-m` and a module, in so many processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", *options, f"--nproc-per-node={processes}"]
    return launcher + [str(word) for word in words]


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[Started]:
    """Run a launcher, prestarted, until the block ends; the processes that it starts have a Python of their own."""
    _, _, name, *words = command
    with tempfile.TemporaryDirectory() as said:
        out, errors = Path(said) / "out", Path(said) / "errors"
        launcher = Started(module, name, tuple(words), environment=ENVIRONMENT, out=out, errors=errors)
        try:
            yield launcher
        finally:
            if launcher.poll() is None:
                launcher.terminate()
                launcher.wait(60)


def ended(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Return a launcher that has ended."""
    with started(command) as launcher:
        out, errors = launcher.communicate(PATIENCE)
    return subprocess.CompletedProcess(command, launcher.returncode, out, errors)


def succeeded(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Return a launcher that has ended well."""
    found = ended(command)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    return found


def together(
    processes: int, work: Callable[..., object], *given: object, folder: Path | None = None, **more: str
) -> tuple[list[int], str]:
    """Return how prestarted processes ended that are told of each other as launchers do it, and what all have said."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = ENVIRONMENT | more | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    with tempfile.TemporaryDirectory() as place:
        said = Path(place) / "said"
        started = []
        try:
            for rank in range(processes):
                environment = shared | {"RANK": str(rank)}
                started.append(Started(work, *given, folder=folder, environment=environment, out=said, errors=said))
            return [process.wait(PATIENCE) for process in started], said.read_text()
        finally:
            for process in started:
                process.kill()


def succeeded_together(processes: int, work: Callable[..., object], *given: object) -> None:
    """Run prestarted processes that all end well."""
    codes, said = together(processes, work, *given)
    assert codes == [0] * processes, said[-3000:]
