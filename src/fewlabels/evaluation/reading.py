"""A comparison read from its folder."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from fewlabels.evaluation.records import Comparison
from fewlabels.evaluation.run_folder import name_of, run_name
from fewlabels.evaluation.run_record import read_record
from fewlabels.storage.errors import InputError
from fewlabels.storage.wording import enumeration

_MOST_NAMED = 3


def read_comparison(folder: str | Path) -> Comparison:
    """Return the comparison that `compare` has written to a folder, with the runs that were finished.

    Nothing of the folder is executed. Runs whose records are gone are left out, with a warning.

    Parameters
    ----------
    folder : str or Path

    Raises
    ------
    InputError
        If the folder holds no comparison, or its files are damaged.

    Examples
    --------
    >>> import tempfile
    >>> from fewlabels import compare
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = compare("digits", methods=["supervised"], steps=5, out=folder)
    ...     again = read_comparison(folder)
    >>> again.verdicts() == made.verdicts()
    True
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"{path} is no folder; give the one that `fewlabels compare --out` wrote")
    if not (path / "results.json").is_file() or not (path / "config.json").is_file():
        raise InputError(f"{path} holds no comparison with a finished training; give a folder of `fewlabels compare`")
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        results = json.loads((path / "results.json").read_text(encoding="utf-8"))
        names = tuple(str(name) for name in results["classes"])
        order = [(row["method"], row["labels_per_class"], row["seed"]) for row in results["runs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds a damaged comparison ({error}); go on with it by --resume") from error
    found = {}
    for record in sorted((path / "records").glob("*.json")):
        run = read_record(record)
        if run is None:
            raise InputError(f"{record} or the .npz beside it is damaged; delete both, and go on by --resume")
        found[run_name(run)] = run
    place = {key: number for number, key in enumerate(order)}
    runs = sorted(found.values(), key=lambda run: place.get((run.method, run.labels_per_class, run.seed), len(place)))
    if not runs:
        raise InputError(
            f"{path} holds no records of its runs, as folders of earlier versions do; go on by --resume, which trains "
            "anew, or compare anew"
        )
    if missing := [name for name in (name_of(*key) for key in order) if name not in found]:
        warnings.warn(
            f"{path / 'records'} has nothing of {enumeration(missing, most=_MOST_NAMED)}, which results.json tells of: "
            "left out; go on by --resume to train anew what is missing",
            stacklevel=2,
        )
    return Comparison(names, config, runs, path)
