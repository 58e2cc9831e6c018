"""Two nets as one: both see the same inputs, and their logits are added."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fewlabels.nets.classifier import Classifier, Encoder
from fewlabels.nets.output import OutputLinear


class JoinedEncoder(Encoder):
    """The features of two encoders, one behind the other.

    Parameters
    ----------
    first, second : Encoder
        Of the same inputs. Where samples lie among others the first tells alone: of both, the longer one would decide.
    """

    def __init__(self, first: Encoder, second: Encoder) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.feature_size = first.feature_size + second.feature_size
        self.map_shape = (self.feature_size,)

    @property
    def embedding_size(self) -> int:
        """Of the first encoder."""
        return self.first.embedding_size

    def embedding(self, inputs: Tensor) -> Tensor:
        """Return the first encoder's, (batch, embedding_size)."""
        return self.first.embedding(inputs)

    def start(self, inputs: Tensor) -> None:
        """Start both."""
        self.first.start(inputs)
        self.second.start(inputs)

    def feature_map(self, inputs: Tensor) -> Tensor:
        """Return the features of both, (batch, feature_size): their maps differ in shape."""
        return torch.cat([self.first(inputs), self.second(inputs)], 1)

    def pool(self, feature_map: Tensor) -> Tensor:
        """Return the features as they are."""
        return feature_map


class JoinedHead(nn.Module):
    """The sum of what two heads say, each of the features of its own encoder.

    Parameters
    ----------
    first, second : nn.Module
        From features to logits; the last layer of each is an `OutputLinear`.
    size : int
        Length of the features that the first one reads.
    """

    def __init__(self, first: nn.Module, second: nn.Module, size: int) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.size = size

    def forward(self, features: Tensor) -> Tensor:
        """Return logits, (batch, classes)."""
        logits: Tensor = self.first(features[:, : self.size]) + self.second(features[:, self.size :])
        return logits


def joined(first: Classifier, second: Classifier) -> Classifier:
    """Return a classifier whose logits are the sum of two classifiers' with the same normalization.

    It shares their modules.

    Examples
    --------
    >>> from fewlabels.nets.registry import build_classifier
    >>> one, other = (build_classifier("mlp", (4,), classes=3).eval() for _ in range(2))
    >>> inputs = torch.rand(5, 4)
    >>> torch.allclose(joined(one, other)(inputs), one(inputs) + other(inputs), atol=1e-6)
    True
    """
    encoder = JoinedEncoder(first.encoder, second.encoder)
    head = JoinedHead(first.head, second.head, first.encoder.feature_size)
    both = Classifier(encoder, head, len(first.mean))
    both.mean.copy_(first.mean)
    both.std.copy_(first.std)
    return both


@torch.no_grad()
def scale_logits(classifier: Classifier, factor: float) -> None:
    """Multiply what a classifier's last layer gives."""
    last = [module for module in classifier.head.modules() if isinstance(module, OutputLinear)][-1]
    last.weight.mul_(factor)
    last.bias.mul_(factor)
