"""Kills trainings with SIGKILL at random moments, continues them, and compares them with trainings never stopped.

    python benchmarks/kills.py --kills 50 --seed 0

Every training is a process of its own that writes a checkpoint after each step. Two in five of the kills wait from
their random moment on until a file is being written. A training is killed several times over before it may finish.
What must be equal, bit for bit: all weights, the probabilities of all samples, and the history.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits

from fewlabels import make_method

# Between them: stages, rounds, averages of weights, dropout, teachers, thresholds, memory banks, and nets that are
# trained beside the method's own.
TRAININGS: dict[str, tuple[str, dict[str, Any]]] = {
    "supervised": ("supervised", {"dropout": 0.2, "ema_decay": 0.9}),
    "self-training": ("self-training", {"rounds": 2, "student_steps": 1.0}),
    "flex-match": ("flex-match", {"warm_start": 0.3, "teacher_decay": 0.9, "unlabeled_ratio": 1.0}),
    "two-step-autoencoder": ("two-step-autoencoder", {"pretraining_steps": 10}),
    "sim-match": ("sim-match", {"unlabeled_ratio": 1.0, "align_guesses": True}),
    "mix-match, guarded": ("mix-match", {"guard": True, "unlabeled_ratio": 1.0}),
    "fix-match, pool assessed": ("fix-match", {"assess_pool": True, "unlabeled_ratio": 1.0, "optimizer": "adam"}),
    "label-spreading": ("label-spreading", {"rounds": 1, "student_steps": 1.0}),
    "sim-clr": ("sim-clr", {"pretraining_steps": 10, "pretraining_batch": 32}),
    "re-mix-match": ("re-mix-match", {"unlabeled_ratio": 1.0}),
}
MOST_KILLS = 5
# Share of the kills that wait, from their random moment on, for a checkpoint that is being written.
IN_A_WRITE = 0.4


def train(name: str, result: Path, checkpoint: Path | None) -> None:
    """Fit one of the trainings and write what has to be equal."""
    digits = load_digits()
    X, y = (digits.images[:150] / 16).astype("float32"), digits.target[:150].copy()
    y[60:] = -1
    method, settings = TRAININGS[name]
    known = make_method(method, steps=10, batch_size=16, random_state=0)
    fitted = known.set_params(**settings).fit(X, y, checkpoint=checkpoint, checkpoint_every=0)
    found = hashlib.sha256()
    for key, value in fitted.network_.state_dict().items():
        found.update(key.encode() + value.contiguous().numpy().tobytes())
    found.update(fitted.predict_proba(X).tobytes())
    history = [{k: v for k, v in event.items() if k != "seconds"} for event in fitted.history_]
    found.update(json.dumps(history).encode())
    result.write_text(found.hexdigest())


def forked(action: Callable[[], None]) -> int:
    """Start a process that does something, and return its id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        action()
        code = 0
    finally:
        os._exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trainings", default=";".join(TRAININGS), help="which, with semicolons between")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    names = options.trainings.split(";")
    with tempfile.TemporaryDirectory() as folder:
        # PyTorch loads much of itself when it is first used: here, so that trainings are training when they are killed.
        train("supervised", Path(folder) / "unused", None)
    draws = np.random.default_rng(options.seed)
    rows: list[dict[str, Any]] = []
    kills = 0
    while kills < options.kills:
        for name in names:
            if kills < options.kills:
                rows.append(one_training(name, draws, min(MOST_KILLS, options.kills - kills)))
                kills += rows[-1]["kills"]
                print(json.dumps(rows[-1]), flush=True)
    total = {key: sum(row[key] for row in rows) for key in ("kills", "while_writing", "resumed_midway", "equal")}
    print(json.dumps({"seed": options.seed, "trainings": len(rows), **total, "lost": len(rows) - total["equal"]}))
    sys.exit(total["equal"] != len(rows))


def wait_for_a_write(checkpoint: Path) -> None:
    """Return as soon as a file is being written, or after a while, if the training has none left to write."""
    end = time.perf_counter() + 5
    while time.perf_counter() < end and not any(name.endswith(".part") for name in listed(checkpoint)):
        pass


def listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def one_training(name: str, draws: np.random.Generator, kills: int) -> dict[str, Any]:
    """Run a training to its end in one go, and again with kills on the way."""
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        began = time.perf_counter()
        _, status = os.waitpid(forked(lambda: train(name, folder / "whole", folder / "unused")), 0)
        assert status == 0, f"{name} does not end by itself"
        whole = time.perf_counter() - began
        done = while_writing = midway = 0
        checkpoint = folder / "checkpoint"
        finished = False
        while not finished:
            midway += done > 0 and any(checkpoint.glob("*.safetensors"))
            process = forked(lambda: train(name, folder / "resumed", checkpoint))
            # Attempts that go on begin later in the training: kill them after a part of what is left of it.
            time.sleep(float(draws.random()) * whole / (1 + 0.5 * midway) if done < kills else 0.0)
            if done < kills:
                if draws.random() < IN_A_WRITE:
                    wait_for_a_write(checkpoint)
                os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            if os.WIFSIGNALED(status):
                done += 1
                while_writing += any(checkpoint.glob(".*.part"))
            else:
                assert os.WEXITSTATUS(status) == 0, f"{name} cannot be resumed"
                finished = True
        equal = (folder / "whole").read_text() == (folder / "resumed").read_text()
        return {
            "training": name,
            "seconds": round(whole, 2),
            "kills": done,
            "while_writing": while_writing,
            "resumed_midway": int(midway),
            "equal": int(equal),
        }
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
