"""How close a fit with a budget comes to the time that was asked for.

    python benchmarks/budget.py [--budgets 30s,90s] [--methods supervised,self-training]

Each fit is then repeated by its recorded steps: the weights must be the same, bit for bit.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from fewlabels import make_method
from fewlabels.training.budget import parse_seconds
from harness import Report


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budgets", default="30s,90s")
    parser.add_argument("--methods", default="supervised,two-step-autoencoder,self-training")
    options = parser.parse_args()
    report = Report("budget")
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (2000, 32, 32, 3), dtype=np.uint8)
    pool = generator.integers(0, 256, (10_000, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(len(images)) % 10
    for name in options.methods.split(","):
        for budget in options.budgets.split(","):
            asked = parse_seconds(budget)
            assert asked is not None, "only times are measured here"
            began = time.perf_counter()
            method = make_method(name, budget=budget, random_state=0).fit(images, labels, unlabeled=pool)
            taken = time.perf_counter() - began
            verdict = "met" if abs(taken / asked - 1) <= 0.05 else "missed"
            note = f"target within 5 %: {verdict}; steps {method.stage_steps_}"
            report.add(f"{name}, budget {budget}", [100 * (taken / asked - 1)], "% off", note)
            if name == "supervised":
                again = make_method(name, steps=method.stage_steps_["classifier"], random_state=0)
                again.fit(images, labels, unlabeled=pool)
                pairs = zip(method.network_.state_dict().values(), again.network_.state_dict().values(), strict=True)
                same = all(torch.equal(a, b) for a, b in pairs)
                report.add("  the same weights by the recorded steps", [float(same)], "", "yes" if same else "NO")


if __name__ == "__main__":
    main()
