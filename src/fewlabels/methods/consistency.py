"""What consistency methods share: what is guessed on a weak view is the target of a strong one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewlabels.nets.statistics import frozen_statistics
from fewlabels.training.batches import Batch


@torch.no_grad()
def probabilities(classifier: nn.Module, weak: Tensor) -> Tensor:
    """Return the classifier's class probabilities of weak views, float32, (batch, classes).

    No gradient flows through them, and batch normalization's running statistics stay as they are.

    Parameters
    ----------
    classifier : nn.Module
        Maps views to logits.
    weak : Tensor
        Weak views, (batch, ...).
    """
    with frozen_statistics(classifier):
        logits: Tensor = classifier(weak)
    return logits.float().softmax(1)


def guess(classifier: nn.Module, weak: Tensor) -> tuple[Tensor, Tensor]:
    """Return the classifier's confidence in its class for each weak view, and that class.

    See `probabilities`.

    Returns
    -------
    confidences : Tensor
        float32 in [0, 1], (batch,).
    classes : Tensor
        int64, (batch,).
    """
    confidences, classes = probabilities(classifier, weak).max(1)
    return confidences, classes


def sharpened(given: Tensor, temperature: float) -> Tensor:
    """Return probabilities to the power of 1 / temperature, scaled to a sum of one.

    Examples
    --------
    >>> sharpened(torch.tensor([[0.8, 0.2]]), 0.5)
    tensor([[0.9412, 0.0588]])
    """
    # As logarithms: a power would be zero for all classes where a temperature is low.
    return (given.clamp_min(1e-30).log() / temperature).softmax(1)


def strong_logits(nets: nn.Module, batch: Batch) -> Tensor:
    """Return the logits of strong views of a batch's pool samples."""
    # Strong views have other statistics than the images to be classified.
    with frozen_statistics(nets):
        return nets(batch.views.strong(batch.pool))  # type: ignore[no-any-return]


def consistency(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return the cross-entropy of strong views' logits to guessed targets, weighted and averaged over all.

    The mean is over the whole batch, not over those that count, so that few sure samples weigh little (Sohn et
    al., 2020).

    Parameters
    ----------
    logits : Tensor
        (batch, classes).
    targets : Tensor
        Classes, (batch,), or probabilities, (batch, classes).
    weights : Tensor
        (batch,).

    Examples
    --------
    >>> consistency(torch.zeros(2, 4), torch.tensor([0, 1]), torch.tensor([1.0, 0.0]))
    tensor(0.6931)
    """
    return (F.cross_entropy(logits.float(), targets, reduction="none") * weights).mean()
