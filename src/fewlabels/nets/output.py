"""Layers whose scale is part of the answer: logits, pixel values.

Optimizers that hold the norm of a layer's weights must leave these free.
"""

from __future__ import annotations

from torch import nn


class OutputLinear(nn.Linear):
    """A linear layer whose outputs are an answer."""


class OutputConv2d(nn.Conv2d):
    """A convolution whose outputs are an answer."""
