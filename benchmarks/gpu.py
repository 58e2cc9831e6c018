"""A CUDA device: what a step of the wide net reaches of the matrix-product rate, and the time to accuracy.

    python benchmarks/gpu.py [--cifar10 FOLDER] [--batch 512] [--budget 5m]

Without `--cifar10` only rates are measured. Says so and ends where there is no such device.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from fewlabels import Supervised, load_dataset, make_method
from fewlabels.nets import build_classifier
from harness import Report, rates

SIDE = 8192
PASSES = 20
STEPS = 600
RATE_TARGET, ACCURACY_TARGET = 45, 94


def waited(work: Callable[[], float]) -> Callable[[], float]:
    """Return a contender that ends when the device has done all that it was given."""

    def whole() -> float:
        amount = work()
        torch.cuda.synchronize()
        return amount

    return whole


def measure_rates(report: Report, batch: int) -> None:
    """Compare matrix products, bare passes (eager and compiled) and whole steps."""
    device = torch.device("cuda")
    left, right = torch.randn(2, SIDE, SIDE, device=device, dtype=torch.bfloat16)
    net = build_classifier("fast-wide", (32, 32, 3), 10).to(device, memory_format=torch.channels_last)
    inputs = torch.rand(batch, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(batch, device=device) % 10
    net.start(inputs)
    net.train()

    def passes(module: torch.nn.Module) -> Callable[[], float]:
        def work() -> float:
            for _ in range(PASSES):
                net.zero_grad(set_to_none=True)
                with torch.autocast("cuda", torch.bfloat16):
                    loss = F.cross_entropy(module(inputs).float(), targets)
                loss.backward()
            return PASSES * batch

        return work

    def product() -> float:
        for _ in range(PASSES):
            left @ right
        return PASSES * 2 * SIDE**3 / 1e9

    with FlopCounterMode(display=False) as counter:
        passes(net)()
    flops = counter.get_total_flops() / PASSES / batch / 1e9
    images = np.random.default_rng(0).integers(0, 256, (batch * 8, 32, 32, 3), dtype=np.uint8)
    steps: list[float] = []

    def whole_steps() -> float:
        ticks: list[tuple[float, int]] = []
        method = Supervised(net="fast-wide", steps=STEPS, batch_size=batch, validation_fraction=0.0, device="cuda")
        method.fit(
            images,
            np.arange(len(images)) % 10,
            observer=lambda event: ticks.append((event["seconds"], event.get("gradient_images", 0))),
        )
        steps.append((ticks[-1][1] - ticks[1][1]) / (ticks[-1][0] - ticks[1][0]))
        return float(ticks[-1][1])

    found = rates(
        {
            "product": waited(product),
            "eager": waited(passes(net)),
            "compiled": waited(passes(torch.compile(net))),
            "graphs": waited(passes(torch.compile(net, mode="reduce-overhead"))),
            "steps": waited(whole_steps),
        },
        repeats=5,
    )
    report.add("matrix product, bfloat16", found["product"], "GFLOP/s")
    for name, title in (("eager", "eager"), ("compiled", "torch.compile"), ("graphs", "torch.compile, CUDA graphs")):
        report.add(f"bare forward and backward of the wide net, {title}", found[name], "images/s")
        arithmetic = [rate * flops for rate in found[name]]
        report.share(f"of the matrix-product rate, {title}", arithmetic, found["product"], RATE_TARGET)
    whole = steps[-len(found["eager"]) :]
    report.add("whole supervised step", whole, "images/s")
    report.share("of the matrix-product rate", [rate * flops for rate in whole], found["product"], RATE_TARGET)


def measure_accuracy(report: Report, folder: str, budget: str) -> None:
    """Train with 400 labels a class and measure the accuracy."""
    data = load_dataset(folder, labels_per_class=400)
    method = make_method("uda", preset="short", net="fast-wide", budget=budget, device="cuda", random_state=0)
    began = time.perf_counter()
    method.fit(data.labeled, data.labels, unlabeled=data.pool)
    seconds = time.perf_counter() - began
    accuracy = 100 * method.score(data.test, data.test_labels)
    verdict = "met" if accuracy >= ACCURACY_TARGET else "missed"
    note = f"after {seconds:.0f} s; target {ACCURACY_TARGET}: {verdict}"
    report.add("test accuracy with 4,000 labels of CIFAR-10", [accuracy], "%", note)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", help="folder with CIFAR-10's train.parquet and test.parquet")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--budget", default="5m")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here: nothing was measured")
    report = Report("gpu")
    measure_rates(report, options.batch)
    if options.cifar10:
        measure_accuracy(report, options.cifar10, options.budget)


if __name__ == "__main__":
    main()
