"""The training loop: handed nets, batches and a loss, it owns everything else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from fewlabels.storage.errors import InputError
from fewlabels.training.batches import Batch
from fewlabels.training.monitor import Monitor
from fewlabels.training.recipe import Recipe

Loss = Callable[[Batch], dict[str, Tensor]]
Accuracies = Callable[[], dict[str, float]]
EVALUATIONS = 6


def train(
    nets: nn.Module,
    batches: Iterator[Batch],
    loss: Loss,
    *,
    steps: int,
    recipe: Recipe,
    monitor: Monitor,
    stage: str,
    accuracies: Accuracies | None = None,
    rate_factors: dict[str, float] | None = None,
) -> None:
    """Train `nets` in place.

    Parameters
    ----------
    nets : nn.Module
        All modules whose trainable parameters are to move.
    batches : iterator of Batch
        One for each step.
    loss : callable
        Maps a batch to named scalars, whose sum is minimized.
    steps : int
        Number of steps, at least 1.
    recipe : Recipe
        Optimizer, schedule, averaging, precision.
    monitor : Monitor
        Is told of every step.
    stage : str
        Name of this training among the run's.
    accuracies : callable, optional
        Returns named accuracies of the nets as they are; called a few times and at the end.
    rate_factors : dict of str to float, optional
        Learning rates of the parameters whose name begins so, as a multiple of the recipe's.

    Raises
    ------
    InputError
        If the loss is no longer finite.
    """
    monitor.begin(stage, steps)
    optimizers = recipe.optimizers(nets, rate_factors or {})
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    average = _Average(nets, recipe.ema_decay) if recipe.ema_decay > 0 else None
    device = next(nets.parameters()).device
    looks = {round(steps * (i + 1) / EVALUATIONS) for i in range(EVALUATIONS)} - {0}
    nets.train()
    for step in range(steps):
        factor = recipe.factor(step, steps)
        for optimizer, rates in zip(optimizers, peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = peak * factor
            optimizer.zero_grad(set_to_none=True)
        batch = next(batches)
        batch.progress = step / steps
        with torch.autocast(device.type, recipe.precision, enabled=recipe.precision != torch.float32):
            losses = loss(batch)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
        if average is not None:
            average.update(nets, step)
        unlabeled = 0 if batch.unlabeled is None else len(batch.unlabeled)
        monitor.add({name: value.detach() for name, value in losses.items()}, len(batch.labeled) + unlabeled)
        done = step + 1
        if monitor.is_due(done, steps) or done in looks:
            if done == steps and average is not None:
                average.copy_to(nets)
            measured = accuracies() if accuracies is not None and done in looks else {}
            nets.train()
            monitor.report(done, steps, recipe.learning_rate * factor, measured)
            if not monitor.history[-1]["loss"] < float("inf"):
                raise InputError(
                    f"the loss of {stage} is no longer finite after {done} of {steps} steps; "
                    f"try a learning rate below {recipe.learning_rate:g}"
                )
    nets.eval()


class _Average:
    """Exponential moving average of all parameters and floating-point buffers."""

    def __init__(self, nets: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = copy.deepcopy([value.detach() for value in self._values(nets)])

    @staticmethod
    def _values(nets: nn.Module) -> list[Tensor]:
        return [value for value in nets.state_dict().values() if value.is_floating_point()]

    @torch.no_grad()
    def update(self, nets: nn.Module, step: int) -> None:
        # The ramp forgets the random start, which a constant decay would carry along for long.
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.shadow, self._values(nets), 1 - decay)

    @torch.no_grad()
    def copy_to(self, nets: nn.Module) -> None:
        for value, mean in zip(self._values(nets), self.shadow, strict=True):
            value.copy_(mean)
