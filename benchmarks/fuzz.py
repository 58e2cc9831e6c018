"""Reads damaged files of every kind for a while, within limits of memory and time.

    python benchmarks/fuzz.py --minutes 5 --seed 0
    python benchmarks/fuzz.py --minutes 5 --guided     # by coverage, with atheris (pip install atheris)

Random changes of good files; every attempt follows from the seed and its number, which are printed when a reader
crashes, hangs or takes more memory than it may. With `--guided`, atheris chooses the changes of image files and model
descriptions by which lines of Python they reach.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "data"))

# Above what the process has when it begins.
MEMORY = 2 << 30
SECONDS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guided", action="store_true")
    parser.add_argument("--attempt", help="READER:NUMBER, to do one attempt again")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.guided:
        import atheris

        readers_of_files = ["PIL", "fewlabels.data", "fewlabels.methods.saved", "fewlabels.storage.model_folder"]
        with atheris.instrument_imports(include=readers_of_files):
            import hostile
    else:
        import hostile
    readers = {name: (content, read) for name, content, read in hostile.readers()}
    limit_memory()
    if options.attempt:
        name, number = options.attempt.rsplit(":", 1)
        attempt(name, *readers[name], options.seed, int(number))
        return
    if options.guided:
        guided(readers, options.minutes)
    end = time.monotonic() + 60 * options.minutes
    tried: collections.Counter[str] = collections.Counter()
    read_well: collections.Counter[str] = collections.Counter()
    failures = []
    number = 0
    while time.monotonic() < end:
        for name, (content, read) in readers.items():
            try:
                read_well[name] += attempt(name, content, read, options.seed, number)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                failures.append(f"{name}:{number} {error!r:.300}")
                print(f"FAILED {failures[-1]}", flush=True)
            tried[name] += 1
        number += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    summary = {
        "seed": options.seed,
        "minutes": options.minutes,
        "inputs": sum(tried.values()),
        "each_reader": number,
        "read_all_the_same": sum(read_well.values()),
        "refused": sum(tried.values()) - sum(read_well.values()) - len(failures),
        "failures": len(failures),
        "peak_memory_mb": round(peak),
    }
    print(json.dumps(summary))
    sys.exit(bool(failures))


def attempt(name: str, content: bytes, read: Any, seed: int, number: int) -> bool:
    import hostile

    draws = np.random.default_rng([seed, number, *name.encode()])
    change = hostile.changed_config if name == "config" and draws.random() < 0.7 else hostile.changed
    with at_most(SECONDS):
        return bool(read(change(content, draws)))


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"no answer after {seconds} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def guided(readers: dict[str, Any], minutes: float) -> None:
    """Hand over to atheris, which ends the process."""
    import atheris

    names = [name for name in readers if name.startswith("image") or name == "config"]

    def one(data: bytes) -> None:
        if data:
            readers[names[data[0] % len(names)]][1](data[1:])

    corpus = Path("fuzz-corpus")
    corpus.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        (corpus / f"good-{index}").write_bytes(bytes([index]) + readers[name][0])
    atheris.Setup(
        [sys.argv[0], str(corpus), f"-max_total_time={int(60 * minutes)}", "-timeout=20", "-rss_limit_mb=4096"], one
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
