"""What consistency methods share: the class of a weak view is the target of a strong one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels.nets.statistics import frozen_statistics


@torch.no_grad()
def guess(classifier: nn.Module, weak: Tensor) -> tuple[Tensor, Tensor]:
    """Return the classifier's confidence in its class for each weak view, and that class.

    No gradient flows through it, and batch normalization's running statistics stay as they are.

    Parameters
    ----------
    classifier : nn.Module
        Maps views to logits.
    weak : Tensor
        Weak views, (batch, ...).

    Returns
    -------
    confidences : Tensor
        float32 in [0, 1], (batch,).
    classes : Tensor
        int64, (batch,).
    """
    with frozen_statistics(classifier):
        logits = classifier(weak).float()
    confidences, classes = logits.softmax(1).max(1)
    return confidences, classes


def consistency(logits: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """Return the cross-entropy of strong views' logits to guessed classes, weighted and averaged over all.

    The mean is over the whole batch, not over those that count, so that few sure samples weigh little (Sohn et
    al., 2020).

    Examples
    --------
    >>> consistency(torch.zeros(2, 4), torch.tensor([0, 1]), torch.tensor([1.0, 0.0]))
    tensor(0.6931)
    """
    return (F.cross_entropy(logits.float(), classes, reduction="none") * weights).mean()
