"""What `test_processes.py` runs in several processes, and in one: trains methods, writes their losses and weights."""

import contextlib
import json
import sys
import warnings
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from divided_decisions import decisions
from sklearn.datasets import load_digits

from fewlabels.methods import make_method
from fewlabels.methods.session import Session
from fewlabels.nets import registry
from fewlabels.nets.fast import FastNet
from fewlabels.storage.errors import TrainingWarning
from fewlabels.training.processes import joined

STEPS = 15
# Beside what all are given: what each needs to be quick.
SETTINGS = {
    "sim-clr": {"pretraining_batch": 16, "pretraining_rate": 0.01},
    "vicreg": {"pretraining_batch": 16, "pretraining_rate": 0.01},
    "two-step-autoencoder": {"pretraining_rate": 0.01, "patch": 2},
    "masked-autoencoder": {"pretraining_rate": 0.01, "patch": 2},
    "self-training": {"rounds": 1, "student_steps": 1.0},
    "noisy-student": {"rounds": 1, "student_steps": 1.0},
    "label-spreading": {"rounds": 1, "student_steps": 1.0},
    "ensemble-labels": {"rounds": 1, "student_steps": 1.0},
    "kmeans-features": {"centroids": 16, "patch": 3, "patches": 1000},
    "net-and-patches": {"centroids": 16, "patch": 3, "patches": 1000},
    "auto": {"trial_share": 0.0},
    # Within so few steps their thresholds, averages and banks are to have changed what counts.
    "supervised": {"ema_decay": 0.9},
    "pseudo-label": {"threshold": 0.35},
    "pi-model": {"guard": True},
    "re-mix-match": {"mean_decay": 0.9},
    "uda": {"threshold": 0.13, "teacher_decay": 0.9},
    "fix-match": {"threshold": 0.3, "align_guesses": True},
    "flex-match": {"threshold": 0.4},
    "free-match": {"mean_decay": 0.9},
    "soft-match": {"mean_decay": 0.9},
    "sim-match": {"threshold": 0.25, "mean_decay": 0.9},
}


@contextlib.contextmanager
def small_nets_in_double_precision():
    """Train nets in float64: what rounding changes then stays small, where float32 lets it grow from step to step.

    A batch-norm layer waits for the other processes twice a step, so nets of one stage take a third of the time;
    `test_shares.py` has those of three.
    """
    new, train = Session.new_classifier, Session.train

    def new_double(session, **settings):
        return new(session, **settings).double()

    def train_double(session, nets, loss, **settings):
        return train(session, nets.double(), loss, **settings)

    with (
        mock.patch.object(Session, "new_classifier", new_double),
        mock.patch.object(Session, "train", train_double),
        mock.patch.dict(registry._ENCODERS, fast=partial(FastNet, widths=(16,))),
    ):
        yield


def fitted(name: str):
    digits = load_digits()
    images, labels = (digits.images[:150] * 15.9).astype(np.uint8), digits.target[:150].copy()
    labels[60:] = -1
    method = make_method(name, batch_size=8, random_state=0, device="cpu", optimizer="sgd", learning_rate=0.03)
    chosen = {"steps": STEPS, **SETTINGS.get(name, {})}
    if hasattr(method, "unlabeled_ratio"):
        chosen.setdefault("unlabeled_ratio", 1.0)
    method.set_params(**{key: value for key, value in chosen.items() if hasattr(method, key)})
    return method.fit(images, labels)


def main(folder: Path, names: list[str], *, decide: bool) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", TrainingWarning)
    with joined() as processes:
        rank = 0 if processes is None else processes.rank
        with small_nets_in_double_precision():
            for name in names:
                method = fitted(name)
                found = {key: value.double().numpy() for key, value in method.network_.state_dict().items()}
                for key in ("loss", "pool_admitted"):
                    found[key] = np.array([event[key] for event in method.history_ if key in event])
                found["proba"] = method.predict_proba((load_digits().images[:20] * 15.9).astype(np.uint8))
                np.savez(folder / f"{name}-{rank}.npz", **found)
                print(name, flush=True)
        if decide:
            # It loads what the others are asked by, which who trains alone has not.
            from divided_layers import write_layers

            warnings.simplefilter("ignore")
            write_layers(processes, folder)
            (folder / f"decisions-{rank}.json").write_text(json.dumps(decisions(processes, folder)))
    # Who trains alone pays nothing for what several need.
    loaded = "fewlabels.training.synchronized" in sys.modules
    assert loaded == (processes is not None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2].split(","), decide="decide" in sys.argv[3:])
