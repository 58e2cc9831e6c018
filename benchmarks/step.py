"""What a training step costs beside its arithmetic.

    python benchmarks/step.py [--size 32] [--batch 128]

Measures the matrix-product rate of this machine, the bare forward and backward pass of the default net, and
whole training steps as `fit` makes them (views, optimizer, averaging, logging, looks at accuracies), in turns.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from fewlabels.methods import FixMatch, SemiSupervisedClassifier, Supervised
from fewlabels.nets import build_classifier
from fewlabels.storage.errors import TrainingWarning
from fewlabels.training.memory import reused_memory
from fewlabels.training.recipe import choose_precision
from harness import Report, rates

CPU = torch.device("cpu")
RATIO = 2
# As many as a fit takes by default, and for the longer steps of FixMatch fewer: there are as many looks at accuracies
# in every fit, which are to be no larger a part than they are to users.
STEPS = 500
FIXMATCH_STEPS = 200


def product(dtype: torch.dtype) -> Callable[[], float]:
    """Return a contender that multiplies two 3000 x 3000 matrices, in GFLOP."""
    left, right = torch.randn(2, 3000, 3000).to(dtype)

    def work() -> float:
        left @ right
        return 2 * 3000**3 / 1e9

    return work


def fitted(method: SemiSupervisedClassifier, images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    """Return a contender that takes whole steps: the images of the steps, per second of the steps alone.

    The setting up of a fit (reading, normalizing, initial weights) is left out, as it is paid once.
    """

    def work() -> float:
        ticks: list[tuple[float, int]] = []

        def watch(event: dict[str, float]) -> None:
            ticks.append((event["seconds"], event.get("gradient_images", 0)))

        method.fit(images, labels, unlabeled=images, observer=watch)
        (began, done_before), (ended, done) = ticks[1], ticks[-1]
        work.rate = (done - done_before) / (ended - began)  # type: ignore[attr-defined]
        return float(done)

    return work


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=128)
    options = parser.parse_args()
    # Noise with random labels teaches a net nothing, which is well here and worth a warning elsewhere.
    warnings.simplefilter("ignore", TrainingWarning)
    # Processors differ in more than speed: what is met on one may be missed on another.
    kind = "amx" if torch.cpu._is_amx_tile_supported() else torch.backends.cpu.get_cpu_capability().lower()
    report = Report(f"step-{kind}" if options.size == 32 else f"step-{kind}-{options.size}")
    precision = choose_precision("auto", CPU)
    generator = np.random.default_rng(0)
    side, batch = options.size, options.batch
    images = generator.integers(0, 256, (batch * 8, side, side, 3), dtype=np.uint8)
    labels = np.arange(len(images)) % 10
    net = build_classifier("auto", (side, side, 3), 10).to(memory_format=torch.channels_last)
    inputs = torch.rand(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(batch) % 10
    pool = torch.rand(RATIO * batch, 3, side, side).contiguous(memory_format=torch.channels_last)
    guesses = torch.arange(RATIO * batch) % 10
    net.start(inputs)
    net.train()

    def pass_through(dtype: torch.dtype) -> float:
        net.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = F.cross_entropy(net(inputs).float(), targets)
        loss.backward()
        return batch

    def fixmatch_arithmetic() -> float:
        net.zero_grad(set_to_none=True)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss = F.cross_entropy(net(inputs).float(), targets)
            with torch.no_grad():
                net(pool)
            loss = loss + F.cross_entropy(net(pool).float(), guesses)
        loss.backward()
        return batch * (1 + RATIO)

    with FlopCounterMode(display=False) as counter:
        pass_through(torch.float32)
    flops = counter.get_total_flops() / batch / 1e9
    # Both average the weights: what every step may have to do is part of the step.
    supervised = fitted(Supervised(steps=STEPS, ema_decay=0.99, validation_fraction=0.0), images, labels)
    fixmatch = fitted(
        FixMatch(
            steps=FIXMATCH_STEPS,
            ema_decay=0.99,
            validation_fraction=0.0,
            threshold=0.0,
            unlabeled_ratio=RATIO,
            batch_size=batch,
        ),
        images,
        labels,
    )
    whole: dict[str, list[float]] = {"supervised": [], "fixmatch": []}

    def steps(name: str, work: Callable[[], float]) -> Callable[[], float]:
        def measured() -> float:
            done = work()
            whole[name].append(work.rate)  # type: ignore[attr-defined]
            return done

        return measured

    def several(work: Callable[[], float], times: int) -> Callable[[], float]:
        return lambda: sum(work() for _ in range(times))

    kinds = list(dict.fromkeys((torch.float32, precision)))
    contenders = {f"matrix product, {short(dtype)}": several(product(dtype), 3) for dtype in kinds}
    for dtype in kinds:
        contenders[f"bare forward and backward, {short(dtype)}"] = several(lambda dtype=dtype: pass_through(dtype), 10)
    contenders["bare arithmetic of FixMatch"] = several(fixmatch_arithmetic, 4)
    contenders["supervised"] = steps("supervised", supervised)
    contenders["FixMatch"] = steps("fixmatch", fixmatch)
    with reused_memory():
        found = rates(contenders, repeats=5, warm_up=1)
    for name, values in found.items():
        if name.startswith("matrix"):
            report.add(name, values, "GFLOP/s")
        elif name.startswith("bare"):
            report.add(name, values, "images/s")
    for dtype in kinds:
        arithmetic = [rate * flops for rate in found[f"bare forward and backward, {short(dtype)}"]]
        report.share(
            f"of the matrix-product rate ({1000 * flops:.0f} MFLOP an image), {short(dtype)}",
            arithmetic,
            found[f"matrix product, {short(dtype)}"],
            80,
        )
    report.add("whole supervised step", whole["supervised"][1:], "images/s")
    report.share(
        "of the bare passes",
        whole["supervised"][1:],
        found[f"bare forward and backward, {short(precision)}"],
        92,
    )
    report.add(f"whole FixMatch step, {RATIO} pool images a labeled one", whole["fixmatch"][1:], "images/s")
    report.share("of its bare arithmetic", whole["fixmatch"][1:], found["bare arithmetic of FixMatch"], 88)


def short(dtype: torch.dtype) -> str:
    """Return a type's name without its package."""
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    main()
