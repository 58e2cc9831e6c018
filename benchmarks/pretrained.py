"""What a pretrained net brings at 5, 10, 20 and 50 labels a class, beside training from scratch.

    python benchmarks/pretrained.py FOLDER features|confirm|features-96|scratch|finetune|table

FOLDER holds train/CLASS/… and test/CLASS/…; of each draw, the labels that were not drawn are the pool. Every run is
kept in benchmarks/results/pretrained-PART.json as it ends, and is not done again; `table` prints what is there. The
backbone is EfficientNet-Lite0 (benchmarks/backbones.py). `confirm` repeats the best at 10 labels and the probe on ten
draws that nothing was chosen by: one comparison, that needs no correction. A validation/ part is not used: its labels
would be more than those that are learned from.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from fewlabels import METHODS, embed, load_dataset, make_method
from fewlabels.evaluation.intervals import mean_interval
from fewlabels.evaluation.paired import compare_over_seeds, holm
from fewlabels.storage.atomic import write_json
from harness import RESULTS, machine

BACKBONES = f"python:{Path(__file__).parent / 'backbones.py'}"
# At the size that it was trained at, and at a size for which it is five times as fast.
NETS = {"features": f"{BACKBONES}:efficientnet_lite0_224", "features-96": f"{BACKBONES}:efficientnet_lite0"}
SIZES = (10, 5, 20, 50)
DRAWS = range(5)
FRESH_DRAWS = range(5, 15)
BEST = "self-training"
CONFIRMED_SIZE = 10
BAR = "linear-probe"
# Cheap ones first: whoever stops early has these.
ON_FEATURES = (
    "linear-probe",
    "ensemble-labels",
    "prototypes",
    "label-spreading",
    "self-training",
    "soft-match",
    "fix-match",
    "mix-match",
    "mean-teacher",
    "supervised",
    "noisy-student",
    "flex-match",
    "free-match",
    "uda",
    "pseudo-label",
    "pi-model",
    "vat",
    "sim-match",
    "re-mix-match",
    "two-step-autoencoder",
    "joint-autoencoder",
)
# As a paper sets it, and as the command line does: for minutes.
ROWS = [(name, name, {}) for name in ON_FEATURES] + [
    (f"{name} (short)", name, {"preset": "short"}) for name in ON_FEATURES if "short" in METHODS[name].PRESETS
]
PARTS = {
    "features": ROWS,
    "features-96": ROWS,
    "finetune": [("finetune", "supervised", {"net": NETS["features-96"], "freeze": False, "steps": 60})],
    "scratch": [("scratch", "supervised", {})],
}
IMAGE_SIZE = {"features": None, "features-96": None, "finetune": 96, "scratch": 32}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("part", choices=[*PARTS, "confirm", "table"], help="table: print what is kept")
    parser.add_argument("--of", default="features", choices=list(NETS), help="features that the table shows")
    parser.add_argument("--methods", help="only these, comma-separated")
    parser.add_argument("--draws", type=int, default=len(DRAWS))
    parser.add_argument("--features", type=Path, help="folder for the features")
    arguments = parser.parse_args()
    if arguments.part == "table":
        table(arguments.of)
        return
    confirm = arguments.part == "confirm"
    part, source = "features" if confirm else arguments.part, arguments.folder
    if part in NETS:
        began = time.perf_counter()
        folder = arguments.features or Path("runs") / f"clothing-{part}"
        written = embed(source, NETS[part], folder, progress=True)
        print(f"{written.images} images in {folder}, {time.perf_counter() - began:.0f} s")
        source = folder
    chosen = None if arguments.methods is None else arguments.methods.split(",")
    draws, sizes = range(arguments.draws), SIZES
    if confirm:
        chosen, draws, sizes = [BAR, BEST], FRESH_DRAWS, (CONFIRMED_SIZE,)
    kept = Kept(part)
    for size in sizes:
        for name, method, settings in PARTS[part]:
            for draw in draws:
                if (chosen is None or name in chosen) and not kept.has(name, size, draw):
                    kept.add(run(name, method, settings, source, IMAGE_SIZE[part], size, draw))


def run(name: str, method: str, settings: dict, source: object, image_size: int | None, size: int, draw: int) -> dict:
    data = load_dataset(source, image_size=image_size, labels_per_class=size, random_state=draw)
    learner = make_method(method, random_state=draw, **settings)
    learner.fit(data.labeled, data.labels, unlabeled=data.pool)
    right = learner.predict(data.test) == data.test_labels
    print(
        f"{name:22} {size:3} labels a class, draw {draw}: {right.mean():.1%}, {learner.fit_seconds_:.1f} s", flush=True
    )
    return {
        "method": name,
        "labels": size,
        "draw": draw,
        "accuracy": float(right.mean()),
        "seconds": learner.fit_seconds_,
        "steps": int(sum(learner.stage_steps_.values())),
        "right": "".join(map(str, right.astype(int))),
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
    }


class Kept:
    """Runs of one part, on disk after each."""

    def __init__(self, part: str) -> None:
        self.path = RESULTS / f"pretrained-{part}.json"
        self.read()

    def read(self) -> None:
        self.rows = json.loads(self.path.read_text())["rows"] if self.path.exists() else []

    def has(self, method: str, size: int, draw: int) -> bool:
        return any((row["method"], row["labels"], row["draw"]) == (method, size, draw) for row in self.rows)

    def add(self, row: dict) -> None:
        self.read()  # another process may measure other methods at the same time
        self.rows.append(row)
        write_json(self.path, {"rows": self.rows})


def table(features: str) -> None:
    every = [row for part in (features, "finetune", "scratch") for row in Kept(part).rows]
    rows = [row for row in every if row["draw"] in DRAWS]
    names = list(dict.fromkeys(row["method"] for row in rows))
    sizes = sorted(SIZES)
    print("| method | " + " | ".join(f"{size}" for size in sizes) + " | seconds a fit |")
    print("|---|" + "---|" * (len(sizes) + 1))
    for name in names:
        cells = []
        for size in sizes:
            found = [row["accuracy"] for row in rows if (row["method"], row["labels"]) == (name, size)]
            if not found:
                cells.append("")
                continue
            mean, low, _ = mean_interval(found)
            half = "" if len(found) < 2 else f" ± {100 * (mean - low):.1f}"
            few = "" if len(found) == len(DRAWS) else f" ({len(found)})"
            cells.append(f"{100 * mean:.1f}{half}{few}")
        seconds = np.median([row["seconds"] for row in rows if row["method"] == name])
        print(f"| {name} | " + " | ".join(cells) + f" | {seconds:.1f} |")
    print(f"\nagainst {BAR}, the same draws and test images:")
    for size in sizes:
        duels = {name: duel(rows, name, size) for name in names if name != BAR}
        duels = {name: found for name, found in duels.items() if found is not None}
        for name, corrected in zip(duels, holm([found.p_value for found in duels.values()]), strict=True):
            found = duels[name]
            print(
                f"  {size:3} labels, {name:22} {100 * found.difference:+5.1f} points "
                f"({100 * found.low:+.1f} to {100 * found.high:+.1f}), p = {found.p_value:.4f}, "
                f"{corrected:.4f} corrected for {len(duels)} methods"
            )
    found = duel([row for row in every if row["draw"] in FRESH_DRAWS], BEST, CONFIRMED_SIZE)
    if found is not None:
        print(
            f"\n{BEST} at {CONFIRMED_SIZE} labels on {len(FRESH_DRAWS)} draws that nothing was chosen by: "
            f"{100 * found.difference:+.1f} points ({100 * found.low:+.1f} to {100 * found.high:+.1f}), "
            f"p = {found.p_value:.4f}"
        )


def duel(rows: list[dict], name: str, size: int):
    """Return the paired test of a method against the probe, over the draws that both have; None for fewer than two."""
    own, bar = (
        {
            row["draw"]: np.array(list(row["right"])) == "1"
            for row in rows
            if (row["method"], row["labels"]) == (who, size)
        }
        for who in (name, BAR)
    )
    both = sorted(set(own) & set(bar))
    return compare_over_seeds([bar[draw] for draw in both], [own[draw] for draw in both]) if len(both) > 1 else None


if __name__ == "__main__":
    main()
