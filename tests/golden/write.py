"""Writes the model folders that later versions must still read; run once for each new format version.

python tests/golden/write.py tests/golden/FORMAT_VERSION
"""

import json
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from fewlabels import make_method

MODELS = {
    "vectors": ("supervised", {}),
    "images": ("supervised", {"net": "notebook"}),
    "patches": ("kmeans-features", {"centroids": 8, "patches": 200, "patch": 3}),
}


def samples(name: str) -> np.ndarray:
    images = (load_digits().images[:80] / 16).astype(np.float32)
    return images[:, ::3, ::3].reshape(80, -1) if name == "vectors" else images


def main(out: Path) -> None:
    labels = np.array([f"digit {number}" for number in load_digits().target[:80]], dtype=object)
    labels[40:] = None
    for name, (method, settings) in MODELS.items():
        X = samples(name)
        fitted = make_method(method, steps=5, random_state=0, **settings).fit(X, labels)
        fitted.save(out / name)
        found = {"probabilities": fitted.predict_proba(X[:4]).tolist(), "classes": fitted.predict(X[:4]).tolist()}
        (out / f"{name}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
