"""Photos, and a server of a model of them in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from prestarted import Started, fewlabels

CLASSES = ("blue", "red", "<b>green")


def photo(name: str, seed: int) -> Image.Image:
    """A noisy picture in one color."""
    pixels = np.random.default_rng(seed).integers(0, 90, (16, 24, 3))
    pixels[..., ("red", "<b>green", "blue").index(name)] += 150
    return Image.fromarray(pixels.astype(np.uint8))


@dataclass
class Served:
    """A server in a process of its own."""

    process: subprocess.Popen | Started
    address: str
    folder: Path

    @property
    def labels(self) -> list[str]:
        """Lines of the labels file but the heading."""
        return (self.folder / "model-labels.csv").read_text().splitlines()[1:]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def serving(folder: Path, *words: str, typed: bool = False, **more: str):
    """Run `fewlabels serve` on a folder's model until the block ends, with more in its environment.

    Where it is to be as somebody types it, with a Python of its own, that takes seconds.
    """
    command = ["serve", str(folder / "model"), "--port", "0", "--no-open", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", **more}
    log = folder / "log"
    if typed:
        with log.open("w") as said:
            command = [sys.executable, "-m", "fewlabels", *command]
            process = subprocess.Popen(command, stdout=said, stderr=said, env=environment, cwd=folder)
    else:
        process = Started(*fewlabels(*command), folder=folder, environment=environment, out=log, errors=log)
    try:
        end = time.monotonic() + 120
        found = None
        while found is None:
            text = log.read_text()
            assert process.poll() is None, text
            assert time.monotonic() < end, text
            found = re.search(r"at (http://\S+)", text)
            time.sleep(0.1)
        yield Served(process, found[1], folder)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def built(service):
    """The page; Gradio would make event loops, and leave them open, where none runs."""
    from fewlabels.serving.page import build_page

    async def build():
        return build_page(service)

    return asyncio.run(build())


def functions(page):
    return {one.api_name: one.fn for one in page.fns.values()}
