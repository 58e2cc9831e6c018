"""Write docs/methods/measured.md from benchmarks/results/methods.json: one table, and a line for each method's page.

    python benchmarks/tables.py

`benchmarks/methods.py` calls it at its end; a test asks that the page says what the file says.
"""

from __future__ import annotations

import re
import statistics
from pathlib import Path

from fewlabels import METHODS
from grid import Run, kept_runs

PAGE = Path(__file__).parent.parent / "docs" / "methods" / "measured.md"
BAR = "supervised"
DRAWS = 3
# Rows that do not train the net that the others train.
OWN_NET = ("auto", "kmeans-features", "net-and-patches", "linear-probe", "prototypes", "sim-clr (fast-wide)")
# What a method's own page says of rows whose names end so.
SETTINGS = {
    "": "",
    " (short)": ' and `preset="short"`',
    " (fast-wide)": ', `preset="short"` and `net="fast-wide"`',
}
HEAD = """# Measured, all beside each other

<!-- Written by benchmarks/tables.py: change that, not this. -->

Test accuracy in per cent on [the reference split](../results.md) (CIFAR-10 shaped like STL-10: 45,000 to 49,900 \
images in the pool, 8,000 test images that are classified once, when a model is final), from scratch, mean ± \
standard deviation of three draws of the labels, or as many as the number in brackets says. Each training takes the \
same number of *gradient images*, what goes forward and backward through the net, each view for itself, and all \
train the same net with the same optimizer. Methods with settings for minutes (`preset="short"`) use these; those \
that pretrain have a row with and one without. \
`python benchmarks/methods.py CIFAR10_FOLDER --images {images}` goes on where it was stopped.
"""
NOTES = """
`supervised (strong views)` learns from the labels alone as the methods do that ask for strong views: what they have \
above it is the pool's. Rows with † do not train the common net: `kmeans-features` has features of patches and a \
linear head, `net-and-patches` has the common net beside those, as `auto` does, `sim-clr (fast-wide)` has the \
settings of `sim-clr (short)` and a net of twice the width, `linear-probe` and `prototypes` stand on the pixels as \
they are, and those of the notebook have its net. `sim-clr (short)` goes on by `free-match` once the encoder has \
learned, with four million images by four nets and a student of what they say together; what the encoders of \
`sim-clr` and `vicreg` learn from are views of 24 px, which take little more than half the time of others. \
Self-training and what is built on it also read the pool to label it, which takes no gradient images.
"""


def count_of(images: str) -> float:
    """Return how many images a word like 256k means."""
    found = re.fullmatch(r"(\d+)([kM]?)", images)
    assert found is not None
    return int(found[1]) * {"": 1, "k": 1e3, "M": 1e6}[found[2]]


def mean_of(runs: list[Run]) -> float:
    """Return the mean test accuracy in per cent."""
    return 100 * statistics.mean(run["test_accuracy"] for run in runs)


def plain(runs: list[Run]) -> str:
    """Return mean and standard deviation."""
    spread = f" ± {statistics.stdev(100 * run['test_accuracy'] for run in runs):.1f}" if len(runs) > 1 else ""
    return f"{mean_of(runs):.1f}{spread}"


def cell(runs: list[Run]) -> str:
    """Return mean and standard deviation, and the number of draws where it is not three."""
    if not runs:
        return ""
    return plain(runs) + ("" if len(runs) == DRAWS else f" ({len(runs)})")


def of(runs: list[Run], row: str, labels: int) -> list[Run]:
    """Return the runs of a row at so many labels a class."""
    return [run for run in runs if (run["row"], run["labels_per_class"]) == (row, labels)]


def gain(runs: list[Run], row: str, labels: int) -> str:
    """Return the mean difference to the bar on the same draws, with its standard deviation."""
    return difference(of(runs, row, labels), of(runs, BAR, labels))


def difference(runs: list[Run], bar: list[Run]) -> str:
    """Return the mean difference of runs to others on the same draws, with its standard deviation; none: nothing."""
    by_seed = {run["seed"]: run["test_accuracy"] for run in bar}
    found = [100 * (run["test_accuracy"] - by_seed[run["seed"]]) for run in runs if run["seed"] in by_seed]
    if not found:
        return ""
    spread = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
    return f"{statistics.mean(found):+.1f}{spread}"


def table(runs: list[Run], images: str) -> str:
    """Return the table of one length, the best on average first."""
    labels = sorted({run["labels_per_class"] for run in runs})
    rows = sorted(
        {run["row"] for run in runs},
        # A row that is not complete cannot be compared by its mean.
        key=lambda row: (
            sum(not of(runs, row, n) for n in labels),
            -statistics.mean(mean_of(found) for n in labels if (found := of(runs, row, n))),
        ),
    )
    best = {n: max((mean_of(found) for row in rows if (found := of(runs, row, n))), default=0.0) for n in labels}
    lines = [
        f"\n## {count_of(images):,.0f} gradient images\n",
        "| " + " | ".join(["method", *(f"{n} a class" for n in labels), *(f"to {BAR}, {n}" for n in labels)]) + " |",
        "|---|" + "---:|" * (2 * len(labels)),
    ]
    for row in rows:
        mark = " †" if row in OWN_NET or "notebook" in row else ""
        cells = []
        for n in labels:
            found = of(runs, row, n)
            text = cell(found)
            cells.append(f"**{text}**" if found and mean_of(found) == best[n] else text)
        gains = ["" if row == BAR else gain(runs, row, n) for n in labels]
        lines.append(f"| {row}{mark} | " + " | ".join(cells + gains) + " |")
    return "\n".join(lines) + "\n"


def sentence(by_length: dict[str, list[Run]], method: str) -> str:
    """Return what a method's own page says."""
    said = []
    for images, runs in by_length.items():
        parts = []
        for end, how in SETTINGS.items():
            row = method + end
            for n in sorted({run["labels_per_class"] for run in runs}):
                found = of(runs, row, n)
                if found:
                    more = "" if row == BAR else gain(runs, row, n)
                    beside = more and f" ({more} to {BAR} on the same draws)"
                    few = "" if len(found) == DRAWS else f" in {len(found)} of {DRAWS} draws"
                    parts.append(f"{plain(found)} % with {n} labels a class{how}{few}{beside}")
        if parts:
            said.append(f"{count_of(images):,.0f} gradient images: " + ", ".join(parts))
    if not said:
        return "**Measured** beside the others: [not yet](measured.md)."
    return "**Measured** on the [reference split](measured.md), from scratch. " + ". ".join(said) + "."


def page(runs: dict[str, Run]) -> str:
    """Return the page."""
    lengths = sorted({run["images"] for run in runs.values()}, key=count_of)
    by_length: dict[str, list[Run]] = {n: [run for run in runs.values() if run["images"] == n] for n in lengths}
    parts = [HEAD.format(images=lengths[0]), NOTES]
    parts += [table(found, images) for images, found in by_length.items()]
    parts.append("\n## Method by method\n")
    for method in METHODS:
        text = sentence(by_length, method)
        parts.append(f"\n### {method}\n\n<!-- --8<-- [start:{method}] -->\n{text}\n<!-- --8<-- [end:{method}] -->\n")
    return "".join(parts)


def written() -> dict[str, Run]:
    """Return the runs that are kept."""
    return kept_runs("methods")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(written()))
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
