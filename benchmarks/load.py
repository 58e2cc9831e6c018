"""The served page under load: 50 clients at once that classify and label for a minute, with some that mean no good.

    python benchmarks/load.py --clients 50 --seconds 60

A real server in a process of its own on this machine's loopback, a model of handwritten digits and a pool of 30,000
noisy ones. Each client does what a browser does: uploads an image, asks for its class, waits for the answer on the
event stream; and clicks a class for the image it is shown. Of the uploads, some are larger than the limit, some no
images. A client that is told that the server is busy waits for a moment and tries again. At the end the server is
killed with SIGKILL in the midst of it, and every click that it had confirmed must be in the labels file.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image
from sklearn.datasets import load_digits

from fewlabels import Supervised, load_dataset
from fewlabels.data import read_labels
from fewlabels.methods.examples import remember
from harness import Report

POOL = 30_000
# Of a client's turns: how many are uploads that must be refused.
BAD_SHARE = 0.1
MALFORMED = (b"", b"MZ\x90 no image", b"\x89PNG\r\n\x1a\n" + bytes(100), b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a\xff")


@dataclass
class Tally:
    """What came of all clients' turns."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    confirmed: list[tuple[str, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def took(self, what: str, began: float) -> None:
        self.counts[what] += 1
        self.seconds.setdefault(what, []).append(time.perf_counter() - began)


class Busy(Exception):
    """The server has too much to do."""


class Client:
    """One person's browser."""

    def __init__(
        self, number: int, address: str, functions: dict[str, int], opening: str, http: httpx.AsyncClient
    ) -> None:
        self.draws = random.Random(number)
        self.address, self.functions, self.opening, self.http = address, functions, opening, http
        self.session = f"client{number}"
        self.shown = ""

    async def upload(self, content: bytes | Any, size: int | None = None) -> httpx.Response:
        head = b'--0123456789\r\nContent-Disposition: form-data; name="files"; filename="image.png"\r\n\r\n'
        tail = b"\r\n--0123456789--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=0123456789"}
        if size is None:
            return await self.http.post("/gradio_api/upload", content=head + content + tail, headers=headers)

        async def parts() -> Any:
            yield head
            for _ in range(size >> 16):
                yield bytes(1 << 16)
            yield tail

        return await self.http.post("/gradio_api/upload", content=parts(), headers=headers)

    async def call(self, name: str, *data: Any) -> list[Any]:
        """Use a part of the page, and return what it shows then."""
        body = {"fn_index": self.functions[name], "session_hash": self.session, "data": list(data)}
        answer = await self.http.post("/gradio_api/queue/join", json=body)
        if answer.status_code == 503:
            assert answer.json()["detail"].startswith("busy"), answer.text
            raise Busy
        answer.raise_for_status()
        async with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            async for line in stream.aiter_lines():
                told = json.loads(line[5:]) if line.startswith("data:") else {"msg": ""}
                if told["msg"] == "process_completed":
                    assert told["success"], told["output"]
                    return list(told["output"]["data"])
        raise AssertionError("the stream ended without an answer")

    async def uploaded(self, content: bytes) -> dict[str, Any]:
        answer = await self.upload(content)
        if answer.status_code == 503:
            assert answer.json()["detail"].startswith("busy"), answer.text
            raise Busy
        answer.raise_for_status()
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}

    async def turn(self, tally: Tally, images: list[bytes]) -> None:
        """Classify an image, or give a label, or try what must be refused."""
        kind = self.draws.random()
        if kind < BAD_SHARE / 2:
            # Half of them say how large they are, half do not.
            if self.draws.random() < 0.5:
                answer = await self.upload(bytes((20 << 20) + (1 << 17)))
            else:
                answer = await self.upload(None, size=(20 << 20) + (1 << 20))
            if answer.status_code == 503:
                raise Busy
            assert answer.status_code == 413, f"an oversized upload was answered with {answer.status_code}"
            tally.counts["oversized uploads refused"] += 1
        elif kind < BAD_SHARE:
            file = await self.uploaded(self.draws.choice(MALFORMED))
            shown = (await self.call("classify", file))[0]
            assert "cannot be read" in shown, "a malformed upload was classified"
            tally.counts["malformed uploads refused"] += 1
        elif kind < 0.5 + BAD_SHARE / 2:
            content = self.draws.choice(images)
            began = time.perf_counter()
            shown = (await self.call("classify", await self.uploaded(content)))[0]
            assert "fl-first" in shown, shown
            tally.took("classified", began)
        else:
            if not self.shown:
                self.shown = (await self.call("open"))[2]
            number = self.draws.randrange(10)
            began = time.perf_counter()
            panel, following = await self.call(f"label_{number}", self.shown, self.opening)
            assert "Saved" in panel, panel
            tally.confirmed.append((self.shown, str(number)))
            tally.took("labeled", began)
            self.shown = following

    async def work(self, tally: Tally, images: list[bytes], end: float) -> None:
        while time.perf_counter() < end:
            try:
                await self.turn(tally, images)
            except Busy:
                tally.counts["busy"] += 1
                await asyncio.sleep(self.draws.uniform(0.1, 0.6))
            except (httpx.HTTPError, AssertionError, KeyError, ValueError) as error:
                tally.counts["errors"] += 1
                tally.errors.append(f"{type(error).__name__}: {error}"[:300])
                await asyncio.sleep(0.1)


async def watch(process: psutil.Process, memory: list[tuple[float, float]], folder: Path) -> None:
    """Note each second how much memory the server takes, and how much its uploads."""
    began = time.perf_counter()
    while True:
        held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        memory.append((time.perf_counter() - began, process.memory_info().rss / 2**20, held / 2**20))
        await asyncio.sleep(1)


async def load(address: str, process: psutil.Process, clients: int, seconds: float, temporary: Path) -> Any:
    tally = Tally()
    memory: list[Any] = []
    images = []
    for pixels in load_digits().images[:100]:
        file = io.BytesIO()
        Image.fromarray((pixels / 16 * 255).astype(np.uint8)).save(file, "PNG")
        images.append(file.getvalue())
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as http:
        config = (await http.get("/config")).json()
        functions = {one["api_name"]: one["id"] for one in config["dependencies"] if one["api_name"]}
        (opening,) = (
            one["props"]["value"] for one in config["components"] if one["props"].get("elem_id") == "fl-opening"
        )
        people = [Client(number, address, functions, opening, http) for number in range(clients)]
        while not (await people[0].call("open"))[2]:
            await asyncio.sleep(1)  # the pool is being looked through
        watching = asyncio.create_task(watch(process, memory, temporary))
        end = time.perf_counter() + seconds
        working = [asyncio.create_task(one.work(tally, images, end)) for one in people]
        # Killed while they still work; what they were waiting for then was not confirmed.
        await asyncio.sleep(seconds)
        counts = Counter(tally.counts)
        errors = list(tally.errors)
        process.kill()
        watching.cancel()
        await asyncio.wait(working)
    return counts, errors, tally, memory


def prepare(folder: Path) -> None:
    """Write a model of digits and its source."""
    digits = load_digits()
    pixels = np.round(digits.images / 16 * 255).astype(np.uint8)
    draws = np.random.default_rng(0)
    rows = draws.integers(0, 1000, POOL)
    pool = np.clip(pixels[rows] + draws.normal(0, 25, (POOL, 8, 8)), 0, 255).astype(np.uint8)
    labeled = np.concatenate([np.flatnonzero(digits.target[:1000] == label)[:20] for label in range(10)])
    np.savez(
        folder / "digits.npz",
        X_train=pixels[labeled],
        y_train=digits.target[labeled],
        X_unlabeled=pool,
        X_test=pixels[1000:],
        y_test=digits.target[1000:],
    )
    data = load_dataset(str(folder / "digits.npz"))
    method = Supervised(steps=100, random_state=0).fit(data.labeled, data.labels)
    remember(method, data)
    method.save(folder / "model", class_names=[data.class_names[index] for index in method.classes_])


def start(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start a server, and return it and its address."""
    command = [sys.executable, "-m", "fewlabels", "serve", str(folder / "model"), "--port", "0", "--no-open"]
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    for _ in range(600):
        found = re.search(r"at (http://\S+)", (folder / "log").read_text())
        if found:
            return process, found[1]
        assert process.poll() is None, (folder / "log").read_text()
        time.sleep(0.2)
    raise AssertionError("the server does not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    options.load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="fewlabels-load-") as name:
        folder = Path(name)
        prepare(folder)
        server, address = start(folder)
        try:
            work = load(address, psutil.Process(server.pid), options.clients, options.seconds, folder / "tmp")
            counts, errors, tally, memory = asyncio.run(work)
        finally:
            with contextlib.suppress(ProcessLookupError):
                server.kill()
            server.wait()
        given: dict[str, set[str]] = {}
        for line in (folder / "model-labels.csv").read_text().splitlines()[1:]:
            file, _, label = line.rpartition(",")
            given.setdefault(file, set()).add(label)
        lost = [(file, label) for file, label in tally.confirmed if label not in given.get(file, ())]
        report(options, counts, errors, tally, memory, lost)
        print((folder / "log").read_text()[-2000:] if errors else "", end="")
        assert read_labels(folder / "model-labels.csv").classes
    sys.exit(bool(errors or lost))


def report(options: Any, counts: Any, errors: list[str], tally: Tally, memory: list[Any], lost: list[Any]) -> None:
    table = Report("load")
    # What else the machine does decides how fast this is, and nothing else of it.
    note = f"{options.clients} clients for {options.seconds:g} s; load average before: {options.load:.1f}"
    for what in ("classified", "labeled"):
        table.add(what, [float(counts[what])], "requests", note)
        times = 1000 * np.array(tally.seconds.get(what, [np.nan]))
        table.add(f"{what}: median time", [float(np.median(times))], "ms", "from click to answer, with the wait")
        table.add(f"{what}: 99 of 100 within", [float(np.quantile(times, 0.99))], "ms")
    for what in ("busy", "oversized uploads refused", "malformed uploads refused"):
        table.add(what, [float(counts[what])], "answers")
    table.add("errors", [float(len(errors))], "answers", "; ".join(sorted(set(errors))[:3]))
    table.add("clicks confirmed", [float(len(tally.confirmed))], "labels", "the server was killed while they went on")
    table.add("clicks lost", [float(len(lost))], "labels")
    table.add("memory of the server, every 10 s", [rss for _, rss, _ in memory[::10]], "MiB")
    half = options.seconds / 2
    first = [rss for at, rss, _ in memory if at < half]
    second = [rss for at, rss, _ in memory if at >= half]
    table.add(
        "memory of the server, second half", [float(np.median(second))], "MiB", f"from {second[0]:.0f} at its start"
    )
    table.add("memory of the server, first half", [float(np.median(first))], "MiB")
    slope = np.polyfit([at for at, *_ in memory if at >= half], second, 1)[0]
    table.add("growth of its memory in the second half", [60 * float(slope)], "MiB/min")
    table.add("uploads on the disk at most", [max(held for *_, held in memory)], "MiB")


if __name__ == "__main__":
    main()
