"""Virtual adversarial training: predictions should not change where a small change does most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fewlabels.methods.online import OnlineClassifier
from fewlabels.methods.ranges import check_above_zero, check_not_below_zero
from fewlabels.nets.statistics import frozen_statistics
from fewlabels.training.batches import Batch


@dataclass(kw_only=True, eq=False, repr=False)
class VAT(OnlineClassifier):
    """A sample moved in the direction that changes its prediction most should keep that prediction.

    Minimizes, over labeled (x, y) and pool samples u,

        H(y, p(v(x))) + lambda KL(p(w(u)) || p(w(u) + r)) + mu H(p(w(u)))

    where r is the step of size epsilon along the gradient of KL(p(w(u)) || p(w(u) + xi d)) with respect to d, at a
    random direction d (one step of power iteration), w are weak views, v is `view`, no gradient flows through the
    first p of the divergence, and H(p) is the entropy of the prediction.

    See `OnlineClassifier` for the other parameters and attributes; `unlabeled_weight` is lambda.

    Parameters
    ----------
    epsilon : float
        Root mean square of r, in standard deviations of the inputs, > 0; 0.1 on 32 px color images is a norm of
        5.5 of normalized pixels.
    xi : float
        Root mean square of the trial step along d, in the same units, > 0.
    entropy_weight : float
        mu, at least 0.

    References
    ----------
    Miyato et al., "Virtual adversarial training: a regularization method for supervised and semi-supervised
    learning", 2018; Grandvalet & Bengio, "Semi-supervised learning by entropy minimization", 2005.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> y = digits.target.copy()
    >>> y[100:] = -1
    >>> images = (digits.images / 16).astype("float32")
    >>> method = VAT(steps=30, batch_size=32, random_state=0).fit(images, y)
    >>> method.score(images[100:], digits.target[100:]) > 0.8
    True
    """

    unlabeled_ratio: float = 1.0
    epsilon: float = 0.1
    xi: float = 0.001
    entropy_weight: float = 0.06

    def pool_loss(self, nets: nn.Module, teacher: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the divergence of predictions in the worst direction, and their entropy."""
        batch.pool_passes = 3  # as they are, towards the worst direction, and moved in it
        views = batch.views.weak(batch.pool)
        # The trial step is so small that half precision would not see it.
        with torch.autocast(views.device.type, enabled=False), frozen_statistics(nets):
            logits = nets(views).float()
            target = logits.detach().log_softmax(1)
            direction = torch.empty_like(views).normal_(generator=batch.views.generator)
            # In standard deviations, as the net sees it: a gradient in other units points elsewhere.
            spread = _spread(nets, views)
            step = (self.xi * _scaled(direction)).requires_grad_()
            change = divergence(target, nets(views + spread * step).float())
            (gradient,) = torch.autograd.grad(change, step)
            worst = self.epsilon * _scaled(gradient)
            moved = nets(views + spread * worst).float()
        entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
        return {
            "divergence": self.unlabeled_weight * divergence(target, moved),
            "entropy": self.entropy_weight * entropy,
        }

    def _check_settings(self) -> None:
        super()._check_settings()
        check_above_zero(self, "epsilon", "xi")
        check_not_below_zero(self, "entropy_weight")


def divergence(target: Tensor, logits: Tensor) -> Tensor:
    """Return the mean over the batch of KL(p || q), p given by its logarithm and q by its logits."""
    return (target.exp() * (target - logits.log_softmax(1))).sum(1).mean()


def _scaled(direction: Tensor) -> Tensor:
    """Return each sample's direction with a root mean square of one."""
    size = direction.flatten(1).square().mean(1).sqrt().clamp_min(1e-20)
    return direction / size.view((-1,) + (1,) * (direction.ndim - 1))


def _spread(nets: nn.Module, views: Tensor) -> Tensor:
    """Return the inputs' standard deviation of each channel, in the shape of a sample."""
    spread = getattr(nets, "std", None)
    if not isinstance(spread, Tensor):
        return torch.ones((), device=views.device)
    return spread.detach().view((1, -1) + (1,) * (views.ndim - 2))
