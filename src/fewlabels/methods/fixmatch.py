"""FixMatch: a sure guess on a weak view is the label of a strong view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from fewlabels.methods.consistency import consistency, probabilities, strong_logits
from fewlabels.methods.online import SHORT, OnlineClassifier
from fewlabels.methods.ranges import check_within
from fewlabels.training.batches import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class FixMatch(OnlineClassifier):
    """Pseudo-labels from weak views for strong views, where the net is sure.

    Minimizes, over labeled (x, y) and pool samples u,

        H(y, p(v(x))) + mu 1[max p(w(u)) >= tau] H(argmax p(w(u)), p(s(u)))

    where w and s are weak and strong views, v is `view`, and no gradient flows through p(w(u)). The second term
    is a mean over all pool samples of the batch, sure or not.

    `preset="short"` is for minutes rather than days: fewer pool samples a step, a lower threshold, and a start
    on the labeled samples alone, without which the first minutes pass with few sure guesses.

    See `OnlineClassifier` for the other parameters and attributes; `unlabeled_weight` is mu.

    Parameters
    ----------
    threshold : float
        tau, the confidence from which a guess counts, in [0, 1).

    References
    ----------
    Sohn et al., "FixMatch: simplifying semi-supervised learning with consistency and confidence", 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = FixMatch(preset="short", steps=60, batch_size=32, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"short": SHORT | {"threshold": 0.8}}

    threshold: float = 0.95

    def pool_loss(self, nets: nn.Module, teacher: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of strong views to the classes of weak views that are sure."""
        found = probabilities(teacher, batch.views.weak(batch.pool))
        weights = self.weights(found, batch)
        batch.admitted = weights.mean()
        logits = strong_logits(nets, batch)
        return {"consistency": self.unlabeled_weight * consistency(logits, found.argmax(1), weights)}

    def weights(self, found: Tensor, batch: Batch) -> Tensor:
        """Return how much each pool sample's guess counts, (batch,).

        Parameters
        ----------
        found : Tensor
            Class probabilities of the weak views, (batch, classes).
        batch : Batch
            Whose pool samples they are.
        """
        del batch
        return (found.amax(1) >= self.threshold).to(found.dtype)

    def _check_settings(self) -> None:
        super()._check_settings()
        check_within(self, "[0, 1)", "threshold")
