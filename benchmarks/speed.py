"""Measure this machine's ceiling and what training, views and prediction reach of it, in one run.

    python benchmarks/speed.py

Prints medians of several repetitions with their range, and writes benchmarks/results/speed.json.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from fewlabels import Supervised
from fewlabels.methods.prediction import predict_logits
from fewlabels.nets import build_classifier
from fewlabels.training.batches import Rows
from fewlabels.training.recipe import choose_precision
from fewlabels.views import ImageViews

BATCH, SIDE, REPEATS = 128, 32, 7


def timed(call: Callable[[], object], inner: int = 3) -> list[float]:
    """Return seconds a call of several repetitions, after warming up."""
    call()
    call()
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(inner):
            call()
        found.append((time.perf_counter() - began) / inner)
    return found


def main() -> None:
    """Measure and print."""
    rows: list[tuple[str, list[float], str]] = []
    matrix = torch.randn(3000, 3000)
    cpu = torch.device("cpu")
    precision = choose_precision("auto", cpu)
    for dtype in dict.fromkeys((torch.float32, precision)):
        typed = matrix.to(dtype)
        rates = [2 * 3000**3 / s / 1e9 for s in timed(lambda typed=typed: typed @ typed, 1)]
        rows.append((f"matrix product, {str(dtype).removeprefix('torch.')}", rates, "GFLOP/s"))

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (BATCH * 8, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.arange(len(images)) % 10
    stored = torch.from_numpy(images[:BATCH])
    views = ImageViews(torch.Generator().manual_seed(0))
    net = build_classifier("auto", (SIDE, SIDE, 3), 10).to(memory_format=torch.channels_last)
    net.start(views.plain(stored))
    inputs, targets = views.plain(stored), torch.from_numpy(labels[:BATCH])

    def bare(dtype: torch.dtype) -> None:
        net.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = F.cross_entropy(net(inputs).float(), targets)
        loss.backward()

    with FlopCounterMode(display=False) as counter:
        bare(torch.float32)
    flops = counter.get_total_flops()
    for dtype in dict.fromkeys((torch.float32, precision)):
        seconds = timed(lambda dtype=dtype: bare(dtype))
        name = f"bare forward and backward, {str(dtype).removeprefix('torch.')}"
        rows.append((name, [BATCH / s for s in seconds], "images/s"))
        arithmetic = [flops / s / 1e9 for s in seconds]
        rows.append((f"  as arithmetic ({flops / BATCH / 1e6:.0f} MFLOP an image)", arithmetic, "GFLOP/s"))
    rows.append(("strong views alone", [BATCH / s for s in timed(lambda: views.strong(stored))], "images/s"))

    whole = []
    for seed in range(3):
        fitted = Supervised(steps=60, random_state=seed, validation_fraction=0.0).fit(images, labels)
        whole.append(fitted.gradient_images_ / fitted.fit_seconds_)
    rows.append(("whole fit, everything included (60 steps)", whole, "images/s"))
    pool = Rows([images])
    seconds = timed(lambda: predict_logits(net, pool, cpu), 1)
    rows.append(("labeling a pool, one view", [len(images) / s for s in seconds], "images/s"))

    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, batch {BATCH}, {SIDE}x{SIDE} color")
    for name, values, unit in rows:
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:62} {middle:10,.0f} {unit:10} ({low:,.0f} to {high:,.0f})")
    target = Path(__file__).parent / "results" / "speed.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(
        json.dumps({name.strip(): {"values": values, "unit": unit} for name, values, unit in rows}, indent=1)
    )


if __name__ == "__main__":
    main()
