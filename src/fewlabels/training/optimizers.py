"""PyTorch's optimizers without their ties to `torch.compile`.

Their methods are wrapped for the compiler, and the first that is called imports it: 1 to 2 seconds of every process
that trains, for a compiler that is not used here. What is under the wrappers is the same.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch


class Optimizer(torch.optim.Optimizer):
    """PyTorch's base of optimizers.

    Examples
    --------
    >>> weight = torch.ones(2, requires_grad=True)
    >>> issubclass(SGD, Optimizer), SGD([weight], lr=0.1).param_groups[0]["lr"]
    (True, 0.1)
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)


class AdamW(Optimizer, torch.optim.AdamW):
    """Adam with decoupled weight decay."""

    step: Any = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


class SGD(Optimizer, torch.optim.SGD):
    """Gradient descent with momentum."""

    step: Any = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))
