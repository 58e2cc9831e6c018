"""UDA: the sharpened class probabilities of a weak view are the target of a strong view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from fewlabels.methods.consistency import consistency, probabilities, sharpened, strong_logits
from fewlabels.methods.online import OnlineClassifier
from fewlabels.methods.ranges import check_within
from fewlabels.training.batches import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class UDA(OnlineClassifier):
    """Sharpened guesses on weak views as targets of strong views: unsupervised data augmentation.

    Minimizes, over labeled (x, y) and pool samples u,

        H(y, p(v(x))) + lambda 1[max p(w(u)) >= tau] H(sharpen(p(w(u)), T), p(s(u)))

    where w and s are weak and strong views, v is `view`, sharpen(p, T) is p^(1/T) scaled to a sum of one, and no
    gradient flows through p(w(u)). The second term is a mean over all pool samples of the batch, sure or not. The
    paper's divergence differs from this cross-entropy by a constant. Its annealing of the labeled loss is left
    out: it is for a handful of labels and nets that learn them by heart.

    `preset="short"` is for minutes rather than days: every guess counts, with all that it says of other classes;
    the moving average of the net guesses; and the labeled samples alone come first.

    See `OnlineClassifier` for the other parameters and attributes; `unlabeled_weight` is lambda.

    Parameters
    ----------
    threshold : float
        tau, the confidence from which a guess counts, in [0, 1).
    temperature : float
        T, in (0, 1]: 1 leaves the probabilities as they are.

    References
    ----------
    Xie et al., "Unsupervised data augmentation for consistency training", 2020; Tarvainen & Valpola, "Mean
    teachers are better role models", 2017, for the average.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = UDA(preset="short", steps=60, batch_size=32, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "short": {
            "threshold": 0.0,
            "temperature": 0.5,
            "unlabeled_ratio": 2.0,
            "warm_start": 0.3,
            "second_rate": 0.5,
            "teacher_decay": 0.99,
            "view": "medium",
            "label_smoothing": 0.2,
        }
    }

    threshold: float = 0.8
    temperature: float = 0.4

    def pool_loss(self, nets: nn.Module, teacher: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of strong views to the sharpened probabilities of weak views."""
        found = probabilities(teacher, batch.views.weak(batch.pool))
        logits = strong_logits(nets, batch)
        sure = (found.amax(1) >= self.threshold).to(logits.dtype)
        if self.threshold > 0:  # else all guesses count, as is asked for
            batch.admitted = sure.mean()
        targets = sharpened(found, self.temperature)
        return {"consistency": self.unlabeled_weight * consistency(logits, targets, sure)}

    def _check_settings(self) -> None:
        super()._check_settings()
        check_within(self, "[0, 1)", "threshold")
        check_within(self, "(0, 1]", "temperature")
