"""Make the figures of docs/results.md: each is one `fewlabels compare`, and what is done is not done again.

    python benchmarks/results.py CIFAR10_FOLDER [CLOTHING_FOLDER] [--only NAME]

Writes one run folder for each below runs/results/ and prints a table of each.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

FOLDER = Path("runs/results")


def experiments(cifar10: str, clothing: str | None) -> dict[str, list[str]]:
    """Return the arguments of `fewlabels compare` for each experiment."""
    split = [cifar10, "--test-per-class", "800"]
    found = {
        "default-500": [*split, "--labels-per-class", "500"],
        "default-50": [*split, "--labels-per-class", "50", "--seeds", "3"],
        "notebook-500": [*split, "--labels-per-class", "500", "--preset", "notebook"],
    }
    if clothing:
        found["clothing-20"] = [clothing, "--labels-per-class", "20"]
    return found


def show(name: str, folder: Path) -> None:
    """Print mean and deviation of each method's test accuracy."""
    rows = defaultdict(list)
    with (folder / "results.csv").open() as file:
        for row in csv.DictReader(file):
            rows[row["method"]].append(row)
    print(f"\n{name}")
    for method, found in rows.items():
        test = [float(row["test_accuracy"]) for row in found]
        seconds = statistics.mean(float(row["fit_seconds"]) for row in found)
        spread = f" ± {100 * statistics.stdev(test):.1f}" if len(test) > 1 else ""
        print(f"  {method:24} {100 * statistics.mean(test):5.1f} %{spread}  {seconds:6.0f} s")


def main() -> None:
    """Run what has not been run, and show everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar10", help="folder with CIFAR-10's train.parquet and test.parquet")
    parser.add_argument("clothing", nargs="?", help="an image folder with train/ and test/")
    parser.add_argument("--only", help="one experiment by its name")
    options = parser.parse_args()
    for name, arguments in experiments(options.cifar10, options.clothing).items():
        if options.only not in (None, name):
            continue
        folder = FOLDER / name
        if not (folder / "report.html").exists():
            command = [
                sys.executable,
                "-m",
                "fewlabels",
                "compare",
                *arguments,
                "--out",
                str(folder),
                "--overwrite",
            ]
            subprocess.run([*command, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        show(name, folder)


if __name__ == "__main__":
    main()
