"""Commands that start a Ray cluster of their own, and the processes of that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fewlabels

ENVIRONMENT = os.environ | {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A cluster of this test, whatever else runs on the machine.
    "RAY_ADDRESS": "local",
    # Ray's processes step back for all others, and other tests run beside this one.
    "RAY_worker_niceness": "0",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(fewlabels.__file__).parents[1]),
}


def start_fewlabels(*words: object, cache: Path) -> subprocess.Popen[str]:
    """Start the command line."""
    return subprocess.Popen(
        [sys.executable, "-m", "fewlabels", *map(str, words)],
        env=ENVIRONMENT | {"FEWLABELS_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def workers_of(parent: int, what: bytes) -> list[int]:
    """Return the processes below another that Ray has named after what they do."""
    below, known = [], {parent}
    entries = [path for path in Path("/proc").iterdir() if path.name.isdigit()]
    for _ in range(4):
        for entry in entries:
            try:
                above = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if above in known and int(entry.name) not in known:
                    known.add(int(entry.name))
                    if what in (entry / "cmdline").read_bytes():
                        below.append(int(entry.name))
            except OSError:
                continue
    return below
