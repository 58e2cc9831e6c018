"""FlexMatch: a lower threshold for the classes that are learned slowly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewlabels.methods.fixmatch import FixMatch
from fewlabels.methods.session import Session
from fewlabels.training.batches import Batch


class ClassCounts:
    """How many pool samples were last guessed, surely, to be of each class.

    Parameters
    ----------
    pool : int
        Number of pool samples.
    classes : int
        Number of classes.
    device : torch.device
        Where to count.
    members : ndarray of int, optional
        Which pool samples are learned from; all when not given.
    """

    def __init__(self, pool: int, classes: int, device: torch.device, members: NDArray[np.int64] | None = None) -> None:
        # One class more for the samples that have not been guessed surely yet, and one for those that never are.
        self.counts = torch.zeros(classes + 2, device=device)
        # What is guessed unsurely goes to a place behind the samples' own, where nothing is counted.
        self.last = torch.full((pool + 1,), classes if members is None else classes + 1, device=device)
        if members is not None:
            self.last[torch.from_numpy(members).to(device)] = classes
        self.counts[classes] = pool if members is None else len(members)
        self._one = torch.ones((), device=device)

    def update(self, rows: Tensor, classes: Tensor, sure: Tensor) -> None:
        """Take note of new guesses of some samples; those that are not sure change nothing."""
        self.last[torch.where(sure, rows, len(self.last) - 1)] = classes
        # Counted anew, 0.1 ms for 45,000: a batch may hold a sample twice, which differences would count twice.
        counted = self.last[:-1]
        self.counts.zero_().index_add_(0, counted, self._one.expand_as(counted))

    @property
    def status(self) -> Tensor:
        """Return beta: each class's count by the largest, or by those still unsure while they are more, (classes,)."""
        return self.counts[:-2] / self.counts[:-1].amax().clamp_min(1)


@dataclass(kw_only=True, eq=False, repr=False)
class FlexMatch(FixMatch):
    """FixMatch with a threshold for each class that grows as the class is learned.

    Minimizes FixMatch's loss with the threshold

        tau_c = tau beta_c / (2 - beta_c),  beta_c = n_c / max(max_c n_c, n_unsure)

    where n_c counts the pool samples whose last guess above tau was c, and n_unsure those that have had none.

    See `FixMatch` and `OnlineClassifier` for the parameters.

    References
    ----------
    Zhang et al., "FlexMatch: boosting semi-supervised learning with curriculum pseudo labeling", 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = FlexMatch(preset="short", steps=60, batch_size=32, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    _threshold_moves: ClassVar[bool] = True

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = FixMatch.PRESETS

    def _new_state(self, session: Session) -> ClassCounts:
        return ClassCounts(len(session.pool), session.classes, session.device, session.members)

    def weights(self, found: Tensor, batch: Batch) -> Tensor:
        """Return 1 for samples above the threshold of their class, else 0."""
        confidences, classes = found.max(1)
        assert batch.unlabeled_rows is not None
        beta: Tensor = self._state.status
        thresholds = self.threshold * beta / (2 - beta)
        counts = (confidences >= thresholds[classes]).to(found.dtype)
        self._state.update(batch.unlabeled_rows, classes, confidences >= self.threshold)
        return counts
