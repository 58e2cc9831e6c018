"""The same task by others on the same machine in the same run, each by itself: accuracy and time.

    python benchmarks/peers.py CIFAR10_FOLDER [--only keras,fixmatch,sklearn] [--minutes 10] [--keras-python PATH]

The notebook's four experiments in Keras (in an environment made in benchmarks/.peers, since TensorFlow has versions
of its own of everything), a plain PyTorch FixMatch with a wide residual net and views by Pillow, and scikit-learn's
SelfTrainingClassifier; then fewlabels with ever larger budgets. For each peer: what fewlabels reaches in the time
that the peer took, and how long it takes to reach what the peer ended with. All use the reference split; test images
are looked at by all alike, and nothing is chosen by them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np

from fewlabels import ImageDataset, load_dataset, make_method
from harness import RESULTS, machine

HERE = Path(__file__).resolve().parent
TARGET = 10.0
# What a user would take for so much time, see docs/performance.md.
BUDGETS: dict[str, tuple[str, dict[str, Any]]] = {
    **dict.fromkeys(("1.5s", "2s", "4s", "8s", "16s", "32s"), ("supervised", {"net": "fast-coarse"})),
    **dict.fromkeys(("60s", "120s", "300s"), ("uda", {"preset": "short"})),
}


def keras_python() -> Path:
    """Return the interpreter of an environment with TensorFlow, made where it is missing."""
    folder = HERE / ".peers" / "keras"
    python = folder / "bin" / "python"
    if not python.exists():
        print("making an environment for Keras ...", flush=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "tensorflow-cpu"], check=True)
    return python


def write_split(data: ImageDataset, path: Path) -> None:
    """Write the split's arrays for other processes."""
    np.savez(
        path,
        labeled=data.labeled[:],
        labels=data.labels,
        pool=data.pool[:],
        test=data.test[:],
        test_labels=data.test_labels,
    )


def run_peer(command: list[str]) -> list[dict[str, Any]]:
    """Return what a peer printed, the last line of each name; its progress is shown."""
    found: dict[str, dict[str, Any]] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                row = json.loads(line)
                found[row["peer"]] = row
                print(f"  {row['peer']}: {100 * row['accuracy']:.1f} % after {row['seconds']:.0f} s", flush=True)
    if process.returncode:
        raise SystemExit(f"{command[1]} failed with exit code {process.returncode}")
    return list(found.values())


def run_ours(data: ImageDataset) -> list[dict[str, Any]]:
    """Return accuracy and time of fewlabels for each budget, the wall-clock of `fit` with everything included."""
    found = []
    for budget, (name, settings) in BUDGETS.items():
        method = make_method(name, budget=budget, random_state=0, **settings)
        began = time.perf_counter()
        method.fit(data.labeled, data.labels, unlabeled=data.pool)
        seconds = time.perf_counter() - began
        accuracy = method.score(data.test, data.test_labels)
        found.append({"method": name, "budget": budget, "seconds": seconds, "accuracy": accuracy})
        print(f"  fewlabels {name}, {budget}: {100 * accuracy:.1f} % after {seconds:.0f} s", flush=True)
    return found


def show(peers: list[dict[str, Any]], ours: list[dict[str, Any]]) -> None:
    """Print each peer beside the first of our runs that is as good, and beside the best within its time."""
    for peer in peers:
        line = f"  {peer['peer']}: {100 * peer['accuracy']:.1f} % after {peer['seconds']:.0f} s; fewlabels "
        as_good = next((run for run in ours if run["accuracy"] >= peer["accuracy"]), None)
        within = [run["accuracy"] for run in ours if run["seconds"] <= peer["seconds"]]
        if as_good is None:
            line += "is never as good"
        else:
            factor = peer["seconds"] / as_good["seconds"]
            verdict = "met" if factor >= TARGET else "missed"
            line += f"{100 * as_good['accuracy']:.1f} % after {as_good['seconds']:.1f} s: {factor:.0f} times as fast"
            line += f" (target {TARGET:g}: {verdict})"
        print(line + (f", {100 * max(within):.1f} % in that time" if within else ""))


def main() -> None:
    """Measure what is missing and print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar10", help="folder with CIFAR-10's train.parquet and test.parquet")
    parser.add_argument("--only", default="keras,fixmatch,sklearn", help="comma-separated peers")
    parser.add_argument("--minutes", type=float, default=10, help="training time of the PyTorch FixMatch")
    parser.add_argument("--keras-python", type=Path, help="interpreter that has TensorFlow, rather than a new one")
    options = parser.parse_args()
    data = load_dataset(options.cifar10, labels_per_class=500, test_per_class=800)
    peers: list[dict[str, Any]] = []
    path = RESULTS / "peers.json"
    with tempfile.TemporaryDirectory() as folder:
        split = Path(folder) / "split.npz"
        write_split(data, split)
        commands = {
            "keras": lambda: [options.keras_python or keras_python(), HERE / "peers" / "keras_notebook.py", split],
            "fixmatch": lambda: [sys.executable, HERE / "peers" / "torch_fixmatch.py", split, options.minutes],
            "sklearn": lambda: [sys.executable, HERE / "peers" / "sklearn_self_training.py", split],
        }
        ours = run_ours(data)
        for name in options.only.split(","):
            peers += run_peer([str(part) for part in commands[name]()])
            content = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "peers": peers, "fewlabels": ours}
            path.write_text(json.dumps(content, indent=1) + "\n")
    show(peers, ours)


if __name__ == "__main__":
    main()
