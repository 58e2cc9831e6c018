"""What it costs to be able to go on: the look at each step's numbers, the state kept in memory, and a checkpoint.

    python benchmarks/checkpoints.py

A training of the default net on images of 32 px in batches of 128, in processor time, so that other work on the
machine does not count.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewlabels import make_method
from fewlabels.training.checkpoint import EVERY, Checkpoints
from fewlabels.training.recovery import Recovery

STEPS = 60
SPENT: dict[str, float] = defaultdict(float)


def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        began = time.process_time()
        try:
            return function(*arguments, **named)
        finally:
            SPENT[name] += time.process_time() - began

    return call


def main() -> None:
    torch.set_num_threads(1)
    Recovery.went_wrong = timed("look", Recovery.went_wrong)  # type: ignore[method-assign]
    Recovery.keep = timed("keep", Recovery.keep)  # type: ignore[method-assign]
    Checkpoints.write = timed("write", Checkpoints.write)  # type: ignore[method-assign]
    images = np.random.default_rng(0).integers(0, 256, (1000, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(1000) % 10
    with tempfile.TemporaryDirectory() as folder:
        method = make_method("supervised", steps=STEPS, random_state=0, validation_fraction=0.0)
        began = time.process_time()
        method.fit(images, labels, checkpoint=Path(folder) / "c", checkpoint_every=1e9)
        whole = time.process_time() - began
        look, keep, final = SPENT["look"], SPENT["keep"], SPENT["write"]
        SPENT.clear()
        method.fit(images, labels, checkpoint=Path(folder) / "d", checkpoint_every=0)
        size = max(path.stat().st_size for path in (Path(folder) / "d").iterdir())
        one = (SPENT["write"] - final) / (STEPS - 1)
    found = {
        "step_ms": 1000 * whole / STEPS,
        "look_ms": 1000 * look / STEPS,
        "look_share": look / whole,
        "keep_share": keep / whole,
        "checkpoint_ms": 1000 * one,
        "checkpoint_share_at_default": one / EVERY,
        "finished_stage_mb": size / 1e6,
    }
    print(json.dumps({name: round(value, 5) for name, value in found.items()}))


if __name__ == "__main__":
    main()
