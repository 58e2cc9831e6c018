"""Labeling a pool: its rate beside the net's own, its memory, decoding, and how costs grow.

    python benchmarks/pool.py [--images 1000000] [--jpegs 60000] [--only label,decode,curves]

The pool is a memory-mapped file of noise, 3 KB an image: labeling costs the same whatever the images show.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
from joblib.externals.loky import get_reusable_executor
from PIL import Image

from fewlabels import Supervised, load_dataset
from fewlabels.data import ImageRows
from fewlabels.training.memory import reused_memory
from fewlabels.views.images import to_float
from harness import Report, rates


def fitted(side: int = 32) -> Supervised:
    """Return the default net, hardly trained."""
    images = np.random.default_rng(0).integers(0, 256, (200, side, side, 3), dtype=np.uint8)
    return Supervised(steps=3, flip=False, random_state=0).fit(images, np.arange(200) % 10)


def write_pool(path: Path, count: int, side: int = 32) -> ImageRows:
    """Write a pool and return it memory-mapped."""
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, side, side, 3))
    noise = np.random.default_rng(0).integers(0, 256, (10_000, side, side, 3), dtype=np.uint8)
    for start in range(0, count, len(noise)):
        images[start : start + len(noise)] = noise[: min(len(noise), count - start)]
    images.flush()
    del images
    return ImageRows(np.load(path, mmap_mode="r"))


def resident() -> int:
    """Return the bytes of this process that are in memory, files included."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Peak:
    """The most memory that a block takes above what was there before, in MB."""

    def __enter__(self) -> Peak:
        self.before, self.most, self.done = resident(), 0, threading.Event()
        self.watcher = threading.Thread(target=self._watch)
        self.watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.watcher.join()
        self.megabytes = (self.most - self.before) / 1e6

    def _watch(self) -> None:
        while not self.done.wait(0.02):
            self.most = max(self.most, resident())


def label(report: Report, count: int) -> None:
    """Compare the labeling of a pool on disk with the bare net, then label a large one."""
    method = fitted()
    net = method.network_.eval()
    stored = torch.randint(0, 256, (250, 32, 32, 3), dtype=torch.uint8)
    ready = to_float(stored)

    def bare() -> float:
        with torch.inference_mode():
            for _ in range(16):
                net(ready)
        return 16 * len(ready)

    with tempfile.TemporaryDirectory() as folder, reused_memory():
        some = write_pool(Path(folder) / "some.npy", 10_000)

        def stream() -> float:
            method.predict(some)
            return len(some)

        found = rates({"bare": bare, "stream": stream}, repeats=5)
        report.add("bare inference of the default net, float32", found["bare"], "images/s")
        report.add("labeling a pool on disk", found["stream"], "images/s")
        report.share("of bare inference", found["stream"], found["bare"], 85)
        rows = write_pool(Path(folder) / "pool.npy", count)
        method.predict(some)
        began = time.perf_counter()
        with Peak() as peak:
            method.predict(rows)
        report.add(f"labeling {count:,} images", [time.perf_counter() - began], "s")
        verdict = "met" if peak.megabytes < 500 else "missed"
        report.add("memory above the baseline meanwhile", [peak.megabytes], "MB", f"target below 500: {verdict}")


def decode(report: Report, count: int) -> None:
    """Decode image files into the cache, and open it again."""
    with tempfile.TemporaryDirectory() as folder:
        source, cache = Path(folder) / "images", Path(folder) / "cache"
        generator = np.random.default_rng(0)
        bytes_of = []
        for _ in range(200):
            smooth = Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((96, 96))
            with io.BytesIO() as buffer:
                smooth.save(buffer, "JPEG", quality=90)
                bytes_of.append(buffer.getvalue())
        for number in range(count):
            target = source / ("train" if number % 10 else "test") / f"class{number % 7}"
            if number < 140:
                target.mkdir(parents=True, exist_ok=True)
            (target / f"{number}.jpg").write_bytes(bytes_of[number % 200])
        os.environ["FEWLABELS_CACHE"] = str(cache)
        time.sleep(2.5)  # a folder that changed a moment ago is not remembered
        began, used = time.perf_counter(), sum(os.times()[:4])
        load_dataset(source, labels_per_class=20)
        elapsed = time.perf_counter() - began
        get_reusable_executor().shutdown(wait=True)  # the time of other processes counts when they have ended
        used = sum(os.times()[:4]) - used
        cores = len(os.sched_getaffinity(0))
        report.add(f"decoding {count:,} JPEG files of 96 px", [count / elapsed], "images/s")
        report.add("cores in use meanwhile", [used / elapsed], "", f"of {cores}")
        times = []
        for _ in range(7):
            began = time.perf_counter()
            load_dataset(source, labels_per_class=20)
            times.append(1000 * (time.perf_counter() - began))
        verdict = "met" if sorted(times)[3] < 100 else "missed"
        report.add("opening it again, from the cache", times, "ms", f"target below 100: {verdict}")


def slope(sizes: list[float], seconds: list[float]) -> float:
    """Return the exponent of growth: 1 is linear."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def curves(report: Report) -> None:
    """Time growing pools, trainings and images."""
    method = fitted()
    with tempfile.TemporaryDirectory() as folder, reused_memory():
        sizes = [5_000, 10_000, 20_000, 40_000]
        rows = write_pool(Path(folder) / "pool.npy", sizes[-1])
        method.predict(rows.take(np.arange(2_000)))
        seconds = []
        for size in sizes:
            began = time.perf_counter()
            method.predict(ImageRows(rows.array[:size]))
            seconds.append(time.perf_counter() - began)
            report.add(f"labeling {size:,} images", [seconds[-1]], "s")
        report.add("exponent of the time over the pool", [slope(sizes, seconds)], "", "1 is linear")
    images = np.random.default_rng(0).integers(0, 256, (1280, 32, 32, 3), dtype=np.uint8)
    steps, seconds = [40, 80, 160, 320], []
    for count in steps:
        method = Supervised(steps=count, random_state=0).fit(images, np.arange(1280) % 10)
        seconds.append(method.fit_seconds_)
        report.add(f"fit of {count} steps", [seconds[-1]], "s")
    report.add("exponent of the time over the steps", [slope(steps, seconds)], "", "1 is linear")
    pixels, seconds = [], []
    for side in (16, 32, 48, 64, 96):
        images = np.random.default_rng(0).integers(0, 256, (256, side, side, 3), dtype=np.uint8)
        method = Supervised(steps=24, random_state=0).fit(images, np.arange(256) % 10)
        ticks = [event["seconds"] for event in method.history_]
        seconds.append((ticks[-1] - ticks[3]) / 20)
        pixels.append(float(side * side))
        report.add(f"a step of 128 images of {side} px", [1000 * seconds[-1]], "ms")
    report.add("exponent of the time over the pixels", [slope(pixels, seconds)], "", "1 is linear")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000, help="images of the large pool")
    parser.add_argument("--jpegs", type=int, default=60_000, help="files to decode")
    parser.add_argument("--only", default="label,decode,curves", help="comma-separated parts")
    options = parser.parse_args()
    parts = options.only.split(",")
    report = Report("pool", keep=len(parts) < 3)
    if "decode" in parts:
        decode(report, options.jpegs)
    if "curves" in parts:
        curves(report)
    if "label" in parts:
        label(report, options.images)


if __name__ == "__main__":
    main()
