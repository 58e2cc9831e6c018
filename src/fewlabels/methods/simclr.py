"""SimCLR: two views of the same sample are to be found among all others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fewlabels.methods.pretraining import PretrainingClassifier
from fewlabels.methods.ranges import check_above_zero


@dataclass(kw_only=True, eq=False, repr=False)
class SimCLR(PretrainingClassifier):
    """Pretrain an encoder by telling which views are of the same sample, then train a classifier from it.

    Step 1 minimizes, over the 2 n views of a batch, for a view i and the other view j of its sample,

        -log exp(z_i z_j / T) / sum over k != i of exp(z_i z_k / T)

    where z are projections of length one of an encoder's features. Views are resized crops with other colors;
    of vectors, noise and features of other rows. Step 2 is that of `PretrainingClassifier`.

    See `PretrainingClassifier` for the other parameters.

    Parameters
    ----------
    temperature : float
        T, > 0; lower for small batches.

    References
    ----------
    Chen et al., "A simple framework for contrastive learning of visual representations", 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = SimCLR(steps=30, batch_size=32, pretraining_batch=64, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    temperature: float = 0.2

    def view_loss(self, first: Tensor, second: Tensor) -> dict[str, Tensor]:
        """Return the contrastive loss."""
        return {"contrast": contrast(first, second, self.temperature)}

    def _check_settings(self) -> None:
        super()._check_settings()
        check_above_zero(self, "temperature")


def contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return the normalized, temperature-scaled cross-entropy of finding each view's partner.

    Parameters
    ----------
    first, second : Tensor
        Projections of two views of the same samples, (batch, size).
    temperature : float
        T, > 0.
    """
    views = F.normalize(torch.cat([first, second]), dim=1)
    similarity = views @ views.T / temperature
    # A view is not among those that it is told from.
    similarity = similarity.masked_fill(torch.eye(len(views), dtype=torch.bool, device=views.device), -torch.inf)
    partner = torch.arange(len(views), device=views.device).roll(len(first))
    return F.cross_entropy(similarity, partner)
