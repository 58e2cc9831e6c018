"""Whatever several processes have to agree on: `divided.py` runs it in each, and writes what each came to."""

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from fewlabels.methods import make_method
from fewlabels.storage.errors import InputError
from fewlabels.training.processes import Processes, by_turns, first


def refused(compute) -> str:
    try:
        compute()
    except InputError as error:
        return f"{type(error).__name__}: {error}"
    return "was taken"


def decisions(processes: Processes, folder: Path) -> dict[str, object]:
    images = (load_digits().images[:150] * 15.9).astype(np.uint8)
    labels = load_digits().target[:150].copy()
    labels[60:] = -1
    settings = {"batch_size": 8, "device": "cpu", "random_state": 0}
    found: dict[str, object] = {}

    def only_in(rank: int) -> None:
        if processes.rank == rank:
            raise InputError(f"process {rank} has no such folder")

    found["error of the first"] = refused(lambda: first(processes, lambda: only_in(0)))
    found["error of another"] = refused(lambda: by_turns(processes, lambda: only_in(1)))
    made = folder / "made"
    # The first of the host makes it, and the others find it.
    found["turns"] = by_turns(processes, lambda: made.exists() or made.write_text("x"))

    others = images.copy()
    others[0] += processes.rank
    found["other data"] = refused(lambda: make_method("supervised", steps=2, **settings).fit(others, labels))

    unseeded = make_method("supervised", steps=2, **settings | {"random_state": None}).fit(images, labels)
    found["unseeded"] = float(unseeded.network_.head.weight.sum())
    # Clocks of processes differ, and what they may take too.
    timed = make_method("fix-match", preset="short", budget="2s", **settings).fit(images, labels, unlabeled=images)
    found["steps in two seconds"] = timed.stage_steps_
    dropped = make_method("supervised", steps=5, dropout=0.5, **settings).fit(images, labels)
    found["dropout"] = float(dropped.network_.head[1].weight.sum())
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Conv2d(1, 5, 3), torch.nn.Dropout(0.5), torch.nn.ReLU())
    gray = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 1), body)
    colors = np.repeat(images[..., None], 3, axis=3)
    frozen = make_method("linear-probe", net=gray, **settings).fit(colors, labels)
    found["frozen backbone"] = float(frozen.predict_proba(colors[:10]).sum(0)[0])
    tuned = make_method("supervised", net=gray, freeze=False, steps=3, **settings).fit(colors, labels)
    found["trained backbone"] = float(tuned.network_.head.weight.sum())
    events = []
    make_method("supervised", steps=2, **settings).fit(images, labels, observer=events.append)
    found["told"] = len(events)
    return found
