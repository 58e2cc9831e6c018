"""Scripts that are sent signals: each in a process of its own, of one that has imported what takes long."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from prestarted import Started, script


def interrupted_script(
    source: str, words: tuple[str, ...], folder: Path, *, wait_for: Callable[[], object], kind: int
) -> tuple[int, str, str]:
    """Return how a script ended that was sent a signal, and what it said.

    Parameters
    ----------
    source : str
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
    with tempfile.TemporaryDirectory() as said:
        out, errors = Path(said) / "out", Path(said) / "errors"
        environment = os.environ | {"FEWLABELS_CACHE": str(folder / "cache")}
        process = Started(script, source, words, folder=folder, environment=environment, out=out, errors=errors)
        try:
            deadline = time.monotonic() + 240
            while not (out.read_text().startswith("ready\n") and wait_for()):
                assert process.poll() is None, errors.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(kind)
            output, told = process.communicate(120)
        finally:
            process.kill()
        return process.returncode, output.removeprefix("ready\n"), told
