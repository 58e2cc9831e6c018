"""Batch normalization over the rows of all processes.

PyTorch's own, `SyncBatchNorm`, is for GPUs alone. This one works wherever messages go, takes the place of the function
rather than of modules, so that any net has it, and merges the processes' means and variances without cancellation
(Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fewlabels.training.processes import Processes


class SynchronizedStatistics(TorchFunctionMode):
    """While entered, batch normalization in training takes its statistics from the rows of all processes.

    Parameters
    ----------
    processes : Processes
        Each of which normalizes a share of the rows, at least one.
    """

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self._processes = processes

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call a function of PyTorch, `batch_norm` as told above."""
        if func is F.batch_norm:
            return self._normalized(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _normalized(
        self,
        inputs: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return F.batch_norm(inputs, running_mean, running_var, weight, bias, False, momentum, eps)
        mean, variance, count = merged(inputs, self._processes)
        if running_mean is not None and running_var is not None and momentum:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * (count / (count - 1).clamp_min(1))).to(running_var.dtype), momentum)
        found = _Normalize.apply(inputs, mean, variance, count, weight, bias, eps, self._processes)  # type: ignore[no-untyped-call]
        return cast(Tensor, found)


@torch.no_grad()
def merged(inputs: Tensor, processes: Processes) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance of each channel over the rows of all processes, and how many values that is.

    Parameters
    ----------
    inputs : Tensor
        This process's rows, (rows, channels, ...).
    processes : Processes
        All of which call this.

    Returns
    -------
    mean, variance : Tensor
        (channels,), at least float32; the variance by the number of values.
    count : Tensor
        A scalar.
    """
    values = inputs if inputs.dtype == torch.float64 else inputs.float()
    # Several times as fast as `var_mean`, though it normalizes as well.
    _, mean, inverse = torch.native_batch_norm(values, None, None, None, None, True, 0.0, 0.0)
    # Of a channel of one value, whose variance is 0, the inverse is 0 on CPUs and infinite elsewhere.
    variance = torch.where(inverse > 0, inverse.square().reciprocal(), 0)
    count = mean.new_tensor([values.numel() / values.shape[1]])
    every = processes.stacked(torch.cat([mean, variance, count]))
    means, variances, counts = torch.split(every, [len(mean), len(mean), 1], dim=1)
    total = counts.sum()
    shares = counts / total
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean).square())).sum(0), total


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        processes: Processes,
    ) -> Tensor:
        ctx.save_for_backward(inputs, mean, variance, count, weight)
        ctx.eps, ctx.processes, ctx.has_bias = eps, processes, bias is not None
        return F.batch_norm(inputs, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, mean, variance, count, weight = ctx.saved_tensors
        given = gradients[0]
        inverse = (variance + ctx.eps).rsqrt()
        ones = torch.ones_like(mean) if weight is None else weight
        # As if mean and variance were constants: the fused kernel gives all three gradients.
        direct, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            given, inputs, ones, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        # They are not: each value moves them, and they move the values of all processes.
        sums = ctx.processes.sum(torch.cat([of_bias.to(mean.dtype), of_weight.to(mean.dtype)])) / count
        shift, tilt = sums.chunk(2)
        shape = (-1,) + (1,) * (inputs.ndim - 2)
        scale = ones.to(mean.dtype) * inverse
        slope = (scale * tilt * inverse).view(shape)
        level = (scale * (shift - tilt * mean * inverse)).view(shape)
        of_inputs = (direct - inputs * slope - level).to(inputs.dtype)
        return (
            of_inputs,
            None,
            None,
            None,
            *((None, None) if weight is None else (of_weight, of_bias if ctx.has_bias else None)),
            None,
            None,
        )
