"""Write docs/pools-measured.md from benchmarks/results/open_set.json: one table for each pool and length.

    python benchmarks/pool_tables.py

`benchmarks/open_set.py` calls it at its end; a test asks that the page says what the file says.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from grid import Run, kept_runs
from tables import BAR, cell, count_of, difference

PAGE = Path(__file__).parent.parent / "docs" / "pools-measured.md"
POOLS = {
    "open-50": "50 labels of each of the six animals; the pool holds all other images, the four vehicles among them",
    "open-500": "500 labels of each of the six animals; the pool holds all other images, the four vehicles among them",
    "imbalanced": "all ten classes; labels (500 of the most frequent) and pool fall from class to class, 10 to 1",
    "open-imbalanced": "500 labels of each of the six animals; vehicles in the pool, and nine dogs for each cat",
}
PLAIN = "as it is"
HEAD = """# Pools as they are, measured

<!-- Written by benchmarks/pool_tables.py: change that, not this. -->

Pools made of CIFAR-10's training images that hold what no label asks for, or some classes far more often than others \
(see [pools as they are](pools.md) for the options). Test accuracy in per cent on test images of the labels' classes, \
equally many of each; mean ± standard deviation of three draws, or as many as the number in brackets says. Each \
training takes the same number of *gradient images*, what goes forward and backward through the net, those that an \
option takes for itself included; all train the same net, methods with settings for minutes (`preset="short"`) use \
these. `python benchmarks/open_set.py CIFAR10_FOLDER --images {images}` goes on where it was stopped.

*Belongs*: what share of the pool belongs to a class, as `assess_pool` has estimated it, and in truth; *told apart*: \
the area under the ROC curve of its scores, 50 for chance; *kept*: how much of what belongs, and of what does not, is \
learned from. *Fell back*: trainings in which the guard took the net of the labels alone, those included in which it \
held the pool back from the start. *For the options*: their share of the gradient images.
"""


def percent(runs: list[Run], name: str) -> str:
    """Return the mean of what was found, in whole per cent."""
    found = [run[name] for run in runs if run.get(name) is not None]
    return f"{100 * statistics.mean(found):.0f}" if found else ""


def for_options(runs: list[Run]) -> str:
    """Return the share of the steps' labeled images that options took, in per cent."""
    shares = []
    for run in runs:
        own = [steps for name, steps in run["steps"].items() if name.startswith("pool, ") or "to fall back on" in name]
        # These stages learn from labeled images alone, 128 a step.
        shares.append(128 * sum(own) / run["gradient_images"])
    return f"{100 * statistics.mean(shares):.0f}"


def row(runs: list[Run], bar: list[Run], name: str, option: str) -> str:
    """Return a table's row."""
    guarded = [run for run in runs if "guard" in run]
    fell_back = f"{sum(not run['guard']['accepted'] for run in guarded)} of {len(guarded)}" if guarded else ""
    if held_back := sum(run["guard"].get("held_back", False) for run in guarded):
        fell_back += f", {held_back} held back"
    belongs = f"{percent(runs, 'inside_share')} ({percent(runs, 'true_inside_share')})" if "pool" in option else ""
    kept = [text for key in ("kept_inside", "kept_outside") if (text := percent(runs, key))]
    cells = [
        name,
        option,
        cell(runs),
        "" if runs == bar else difference(runs, bar),
        belongs,
        percent(runs, "area_under_roc"),
        " and ".join(kept),
        fell_back,
        for_options(runs) if "pool" in option else "",
    ]
    return "| " + " | ".join(cells) + " |"


def table(runs: list[Run], pool: str, images: str) -> str:
    """Return the table of a pool at one length."""
    lines = [
        f"\n## {pool}, {count_of(images):,.0f} gradient images\n",
        f"{POOLS[pool][0].upper()}{POOLS[pool][1:]}.\n",
        "| method | options | accuracy | to supervised | belongs (in truth) | told apart | kept | fell back "
        "| for the options |",
        "|---|---|" + "---:|" * 7,
    ]
    bar = [run for run in runs if (run["method"], run["option"]) == (BAR, PLAIN)]
    rows = dict.fromkeys((run["method"], run["option"]) for run in runs)
    methods = list(dict.fromkeys(name for name, _ in rows))
    # The bar first, and what asks for the most last.
    for name, option in sorted(rows, key=lambda row: (row[0] != BAR, methods.index(row[0]), len(row[1]))):
        found = [run for run in runs if (run["method"], run["option"]) == (name, option)]
        lines.append(row(found, bar, name, option))
    return "\n".join(lines) + "\n"


def page(runs: dict[str, Run]) -> str:
    """Return the page."""
    lengths = sorted({run["images"] for run in runs.values()}, key=count_of)
    parts = [HEAD.format(images=lengths[0])]
    for images in lengths:
        for pool in POOLS:
            found = [run for run in runs.values() if (run["pool"], run["images"]) == (pool, images)]
            if found:
                parts.append(table(found, pool, images))
    return "".join(parts)


def written() -> dict[str, Run]:
    """Return the runs that are kept."""
    return kept_runs("open_set")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(written()))
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
