"""What the benchmarks share: fair timing, a table, and a file with all values."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def rates(contenders: dict[str, Callable[[], float]], repeats: int = 7, warm_up: int = 2) -> dict[str, list[float]]:
    """Return for each contender the units of work a second, of several repetitions.

    Contenders take turns, so that a machine that slows down or speeds up does so for all of them.

    Parameters
    ----------
    contenders : dict
        Each does some work and returns how much it was (images, floating-point operations).
    repeats : int
        Rounds that count.
    warm_up : int
        Rounds that go before them.
    """
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(warm_up + repeats):
        for name, work in contenders.items():
            began = time.perf_counter()
            amount = work()
            elapsed = time.perf_counter() - began
            if turn >= warm_up:
                found[name].append(amount / elapsed)
    return found


class Report:
    """Rows of a benchmark: printed as a table, written to `benchmarks/results/GROUP.json`.

    Parameters
    ----------
    group : str
        Name of the benchmark.
    keep : bool
        Keep the file's rows that this run does not measure anew: for a run of some parts alone.
    """

    def __init__(self, group: str, *, keep: bool = False) -> None:
        self.group = group
        self.path = RESULTS / f"{group}.json"
        kept = json.loads(self.path.read_text())["rows"] if keep and self.path.exists() else []
        self.rows: dict[str, dict[str, object]] = {row["name"]: row for row in kept}
        print(f"{group}: {machine()}", flush=True)

    def add(self, name: str, values: list[float], unit: str, note: str = "") -> float:
        """Add measured values, and return their median."""
        middle = statistics.median(values)
        row = {"name": name, "median": middle, "values": values, "unit": unit, "note": note}
        self.rows[name] = {**row, "machine": machine(), "date": time.strftime("%Y-%m-%d")}
        spread = f"({number(min(values))} to {number(max(values))})" if len(values) > 1 else ""
        print(f"  {name:58} {number(middle):>10} {unit:9} {spread} {note}", flush=True)
        self.write()
        return middle

    def share(self, name: str, part: list[float], whole: list[float], target: float, *, least: bool = True) -> None:
        """Add the ratio of two measurements, turn by turn, beside what it should be at least (or at most)."""
        values = [100 * a / b for a, b in zip(part, whole, strict=True)]
        met = statistics.median(values) >= target if least else statistics.median(values) <= target
        verdict = f"target {'at least' if least else 'at most'} {target:g} %: {'met' if met else 'missed'}"
        self.add(name, values, "%", verdict)

    def write(self) -> None:
        """Write all rows so far."""
        RESULTS.mkdir(exist_ok=True)
        self.path.write_text(json.dumps({"rows": list(self.rows.values())}, indent=1) + "\n")


def number(value: float) -> str:
    """Return a number with about four significant digits."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def machine() -> str:
    """Return processor, threads and versions in one line."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    # Processors of one name differ by a factor of five in this, and the ways to multiply bfloat16 by as much again.
    bfloat16 = {
        ", AMX": torch.cpu._is_amx_tile_supported(),
        ", bfloat16": torch.cpu._is_avx512_bf16_supported(),
    }
    model += f" ({torch.backends.cpu.get_cpu_capability()}{next((name for name, has in bfloat16.items() if has), '')})"
    if torch.cuda.is_available():
        model += f", {torch.cuda.get_device_name()}"
    return f"{model}, {torch.get_num_threads()} threads, torch {torch.__version__}"
