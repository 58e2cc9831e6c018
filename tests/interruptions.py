"""Scripts that are sent signals: each in a process of its own, of one that has imported what takes long."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_PRELOADED = ("fewlabels.cli", "fewlabels.data", "fewlabels.report", "fewlabels.methods", "sklearn.datasets")


def _run(script: str, words: tuple[str, ...], folder: Path, out: Path, errors: Path) -> None:
    os.environ |= {"FEWLABELS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    os.chdir(folder)
    for path, descriptor in ((out, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY), descriptor)
    # A shell that starts the tests in the background has it ignored, and children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["-c", *words]
    exec(script, {"__name__": "__main__"})


def interrupted_script(
    script: str, words: tuple[str, ...], folder: Path, *, wait_for: Callable[[], object], kind: int
) -> tuple[int, str, str]:
    """Return how a script ended that was sent a signal, and what it said.

    Parameters
    ----------
    script : str
        Python, which says "ready" on standard output when it has begun.
    words : tuple of str
        Of its command line.
    folder : Path
        Where it runs.
    wait_for : callable
        Whether it is time for the signal, from when it is ready.
    kind : int
        The signal.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    with tempfile.TemporaryDirectory() as said:
        out, errors = Path(said) / "out", Path(said) / "errors"
        out.touch()
        errors.touch()
        process = context.Process(target=_run, args=(script, words, folder, out, errors))
        process.start()
        try:
            deadline = time.monotonic() + 240
            while not (out.read_text().startswith("ready\n") and wait_for()):
                assert process.is_alive(), errors.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            os.kill(process.pid, kind)
            process.join(120)
        finally:
            process.kill()
            process.join()
        return process.exitcode, out.read_text().removeprefix("ready\n"), errors.read_text()
