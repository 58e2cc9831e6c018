"""What `test_processes.py` runs in several processes, and in one: trains methods, writes their losses and weights."""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from fewlabels.methods import make_method
from fewlabels.methods.session import Session
from fewlabels.storage.errors import TrainingWarning
from fewlabels.training.processes import joined

STEPS = 50
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
    "auto": {"trial_share": 0.0},
    # Within 50 steps their thresholds, averages and banks are to have changed what counts.
    "supervised": {"ema_decay": 0.9},
    "pseudo-label": {"threshold": 0.5},
    "pi-model": {"guard": True},
    "re-mix-match": {"mean_decay": 0.9},
    "uda": {"threshold": 0.5, "teacher_decay": 0.9},
    "fix-match": {"threshold": 0.5, "align_guesses": True},
    "flex-match": {"threshold": 0.4},
    "free-match": {"mean_decay": 0.9},
    "soft-match": {"mean_decay": 0.9},
    "sim-match": {"threshold": 0.5, "mean_decay": 0.9},
}


def in_double_precision() -> None:
    """Train nets in float64: what rounding changes then stays small, where float32 lets it grow in 50 steps."""
    new, train = Session.new_classifier, Session.train
    Session.new_classifier = lambda session, **settings: new(session, **settings).double()
    Session.train = lambda session, nets, loss, **settings: train(session, nets.double(), loss, **settings)


def fitted(name: str):
    digits = load_digits()
    images, labels = (digits.images[:150] * 15.9).astype(np.uint8), digits.target[:150].copy()
    labels[60:] = -1
    method = make_method(name, batch_size=8, random_state=0, device="cpu", optimizer="sgd", learning_rate=0.01)
    chosen = {"steps": STEPS, **SETTINGS.get(name, {})}
    if hasattr(method, "unlabeled_ratio"):
        chosen.setdefault("unlabeled_ratio", 1.0)
    method.set_params(**{key: value for key, value in chosen.items() if hasattr(method, key)})
    return method.fit(images, labels)


def main(folder: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", TrainingWarning)
    in_double_precision()
    with joined() as processes:
        for name in names:
            method = fitted(name)
            found = {key: value.double().numpy() for key, value in method.network_.state_dict().items()}
            found["losses"] = np.array([event["loss"] for event in method.history_ if "loss" in event])
            found["proba"] = method.predict_proba((load_digits().images[:20] * 15.9).astype(np.uint8))
            rank = 0 if processes is None else processes.rank
            np.savez(folder / f"{name}-{rank}.npz", **found)
            print(name, flush=True)
    # Who trains alone pays nothing for what several need.
    loaded = "fewlabels.training.synchronized" in sys.modules
    assert loaded == (processes is not None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2].split(","))
