"""Noisy student: self-training whose student has it harder than its teacher had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fewlabels.methods.ranges import check_within
from fewlabels.methods.self_training import SelfTraining, top_of_each_class
from fewlabels.methods.session import Session

_LEAST_SHARE = 0.1


@dataclass(kw_only=True, eq=False, repr=False)
class NoisyStudent(SelfTraining):
    """Students with dropout and strong views learn a teacher's class probabilities, balanced over the classes.

    A teacher is trained on the labeled samples. In each round it gives every pool sample u its calibrated class
    probabilities p(u), judged on the sample as it is; a student that starts from random weights then minimizes

        H(y, q(s(x))) + H(p(u), q(s(u)))

    over labeled (x, y) and those u whose highest probability is at least `least_confidence` (where fewer than a tenth
    are, the surest tenth of each predicted class), with strong views s and dropout. Each predicted class has equally
    many of them: of a large one the most confident, of a small one some several times. The student is the next round's
    teacher.

    See `SelfTraining` for the other parameters and attributes; shares and the threshold are not used.

    Parameters
    ----------
    least_confidence : float
        In [0, 1).

    References
    ----------
    Xie et al., "Self-training with noisy student improves ImageNet classification", 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = NoisyStudent(rounds=1, steps=60, batch_size=32, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    # The notebook knew no noisy student.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {}

    rounds: int = 3
    soft_labels: bool = True
    ensemble: bool = False
    labeled_share: float | None = 0.25
    dropout: float = 0.5
    view: str = "strong"
    least_confidence: float = 0.3

    def _select(self, confidences: NDArray[np.float64], guesses: NDArray[np.int64], number: int) -> NDArray[np.bool_]:
        sure = confidences >= self.least_confidence
        # A teacher that had little time is sure of nothing, and its probabilities still tell more than none.
        return sure if sure.mean() >= _LEAST_SHARE else top_of_each_class(confidences, guesses, _LEAST_SHARE)

    def _members(
        self, session: Session, pseudo_labels: NDArray[np.int64], confidences: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        return balanced(pseudo_labels, confidences, session.prior().cpu().numpy())

    def _check_settings(self) -> None:
        super()._check_settings()
        check_within(self, "[0, 1)", "least_confidence")


def balanced(
    labels: NDArray[np.int64], confidences: NDArray[np.float64], shares: NDArray[np.floating] | None = None
) -> NDArray[np.int64]:
    """Return rows such that each label comes equally often, or as often as given, and as many in all as there are.

    Of a label with more the most confident are taken, of one with less all, and the most confident once more.

    Parameters
    ----------
    labels : ndarray of int, (n,)
        -1 for rows to leave out.
    confidences : ndarray, (n,)
        How sure each label is.
    shares : ndarray, optional
        How often each class should come, > 0.

    Examples
    --------
    >>> balanced(np.array([0, 0, 0, 1, -1]), np.array([0.9, 0.5, 0.7, 0.6, 0.9])).tolist()
    [0, 2, 3, 3]
    """
    found = np.unique(labels[labels >= 0])
    wanted = np.ones(len(found)) if shares is None else np.asarray(shares, np.float64)[found]
    sizes = np.maximum(1, np.round((labels >= 0).sum() * wanted / wanted.sum())).astype(int)
    rows = []
    for label, size in zip(found, sizes, strict=True):
        mine = np.flatnonzero(labels == label)
        best = mine[np.argsort(-confidences[mine], kind="stable")]
        rows.append(np.resize(best, size))
    return np.sort(np.concatenate(rows)) if rows else np.empty(0, np.int64)
