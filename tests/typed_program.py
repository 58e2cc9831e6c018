"""A program of somebody who checks types: `mypy` reads it with the package (see pyproject.toml).

Nothing runs it: pytest imports it, as it looks for examples, so that its lines are in a function. What
must be refused has a `type: ignore`, and mypy tells of each that is not needed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, assert_type

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

import fewlabels
from fewlabels.evaluation import Comparison
from fewlabels.methods.online import OnlineClassifier
from fewlabels.methods.weight_sets import WeightSet
from fewlabels.nets import Classifier
from fewlabels.nets.statistics import frozen_statistics
from fewlabels.training.batches import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class EntropyMinimization(OnlineClassifier):
    """As in CONTRIBUTING.md, with types."""

    unlabeled_ratio: float = 1.0
    sharp: Optional[float] = None  # noqa: UP045 - as many write it

    def pool_loss(self, nets: nn.Module, teacher: nn.Module, batch: Batch) -> dict[str, Tensor]:
        with frozen_statistics(nets):
            found = nets(batch.views.weak(batch.pool)).float().log_softmax(1)
        entropy = -(found.exp() * found).sum(1).mean()
        return {"entropy": self.unlabeled_weight * entropy}


def program() -> None:
    """Do what such a program does."""
    fewlabels.METHODS["entropy-minimization"] = EntropyMinimization
    data = fewlabels.load_dataset("digits", labels_per_class=10)
    method = EntropyMinimization(steps=3, sharp=0.5).fit(data.labeled, data.labels, unlabeled=data.pool)
    assert_type(method, EntropyMinimization)
    assert_type(method.classes_, NDArray[Any])
    assert_type(method.network_, Classifier)
    assert_type(method.history_, list[dict[str, Any]])
    assert_type(method.notes_, list[str])
    assert_type(method.kept_weights_, dict[str, WeightSet])
    assert_type(method.predict_proba(data.test), NDArray[np.float64])
    assert_type(method.save("model"), Path)
    assert_type(fewlabels.load("model").temperature_, float)
    for image in data.pool:
        assert_type(image, NDArray[Any])
    assert_type(method.set_params(steps=4), EntropyMinimization)
    assert_type(method.score(data.test, data.test_labels), float)
    for parameters in fewlabels.TwoStepAutoencoder().autoencoder_.parameters():
        assert_type(parameters, nn.Parameter)
    found = fewlabels.compare("digits", methods=["supervised"], steps=3, track=["tensorboard"])
    assert_type(found, Comparison)

    print(fewlabels.Superviced)  # type: ignore[attr-defined]
    fewlabels.FixMatch(treshold=0.9)  # type: ignore[call-arg]
    EntropyMinimization(sharp="very")  # type: ignore[arg-type]
    print(method.pool_share_)  # type: ignore[attr-defined]
    fewlabels.compare("digits", method=["supervised"])  # type: ignore[call-arg]
    fewlabels.compare("digits", watching=None)  # type: ignore[call-arg]
