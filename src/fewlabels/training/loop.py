"""The training loop: handed nets, batches and a loss, it owns everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from fewlabels.storage.errors import InputError
from fewlabels.training.average import WeightAverage
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
    after_step: Callable[[], None] | None = None,
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
    after_step : callable, optional
        Called after each step, when the weights have moved.

    Raises
    ------
    InputError
        If the loss is no longer finite.
    """
    monitor.begin(stage, steps)
    optimizers = recipe.optimizers(nets, rate_factors or {})
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    average = WeightAverage(nets, recipe.ema_decay) if recipe.ema_decay > 0 else None
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
            average.update()
        if after_step is not None:
            after_step()
        unlabeled = 0 if batch.unlabeled is None else batch.pool_passes * len(batch.unlabeled)
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
