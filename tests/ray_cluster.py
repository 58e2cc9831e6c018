"""Commands that start a Ray cluster of their own, and the processes of that."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fewlabels
from prestarted import Started
from prestarted import fewlabels as command_line

ENVIRONMENT = os.environ | {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A cluster of this test, whatever else runs on the machine.
    "RAY_ADDRESS": "local",
    # Ray's processes step back for all others, and other tests run beside this one.
    "RAY_worker_niceness": "0",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(fewlabels.__file__).parents[1]),
}
# Ends with what it reads from.
_CLUSTER = """import ray, sys
ray.init(address="local", num_cpus=2, log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


def start_fewlabels(
    *words: object, cache: Path | str, folder: Path | None = None, **more: str
) -> subprocess.Popen[str]:
    """Start the command line in a folder, with more variables in its environment."""
    return subprocess.Popen(
        [sys.executable, "-m", "fewlabels", *map(str, words)],
        env=ENVIRONMENT | {"FEWLABELS_CACHE": str(cache)} | more,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def begin_fewlabels(*words: object, cache: Path | str, folder: Path, **more: str) -> Started:
    """Begin the same where PyTorch is imported, for commands whose start is not what is tested."""
    said = Path(tempfile.mkdtemp(dir=folder.parent))
    environment = ENVIRONMENT | {"FEWLABELS_CACHE": str(cache)} | more
    out, errors = said / "out", said / "errors"
    return Started(*command_line(*words), environment=environment, folder=folder, out=out, errors=errors)


@dataclass(frozen=True)
class Cluster:
    """Where a cluster is that goes on from command to command."""

    address: str
    folder: Path
    pid: int


@contextlib.contextmanager
def cluster_in(folder: Path) -> Iterator[Cluster]:
    """Have a cluster whose processes work in a folder, for as long as the block lasts."""
    command = [sys.executable, "-c", _CLUSTER]
    # Else it takes those alone who know a password that it makes up.
    own = ENVIRONMENT | {"RAY_AUTH_MODE": "disabled"}
    with subprocess.Popen(
        command, env=own, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as cluster:
        assert cluster.stdout is not None
        yield Cluster(cluster.stdout.readline().strip(), folder, cluster.pid)


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
