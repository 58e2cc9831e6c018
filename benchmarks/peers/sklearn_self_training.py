"""scikit-learn's SelfTrainingClassifier on pixels, with two of its own classifiers.

    python sklearn_self_training.py DATA.npz

Prints a line of JSON for each: its name, the seconds it took and its accuracy on the test images.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.svm import SVC

COMPONENTS = 200


def main() -> None:
    stored = np.load(sys.argv[1])
    data = {name: stored[name] for name in stored.files}
    pixels = {name: data[name].reshape(len(data[name]), -1).astype(np.float32) / 255 for name in ("labeled", "pool")}
    test = data["test"].reshape(len(data["test"]), -1).astype(np.float32) / 255
    samples = np.concatenate([pixels["labeled"], pixels["pool"]])
    labels = np.concatenate([data["labels"], np.full(len(pixels["pool"]), -1)])
    contenders: dict[str, tuple[ClassifierMixin, int]] = {
        "logistic regression": (LogisticRegression(C=0.01, max_iter=300), 10),
        "support vector machine": (CalibratedClassifierCV(SVC(C=3), ensemble=False, cv=3), 2),
    }
    for name, (base, rounds) in contenders.items():
        began = time.perf_counter()
        model = make_pipeline(
            PCA(COMPONENTS, svd_solver="randomized", random_state=0), SelfTrainingClassifier(base, max_iter=rounds)
        )
        model.fit(samples, labels)
        seconds = time.perf_counter() - began
        accuracy = float((model.predict(test) == data["test_labels"]).mean())
        print(json.dumps({"peer": f"scikit-learn self-training, {name}", "seconds": seconds, "accuracy": accuracy}))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
