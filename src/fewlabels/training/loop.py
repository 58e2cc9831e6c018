"""The training loop: handed nets, batches and a loss, it owns everything else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from fewlabels.training.average import WeightAverage
from fewlabels.training.batches import Batch, Batches
from fewlabels.training.checkpoint import Stage
from fewlabels.training.kept import KeptWeights
from fewlabels.training.memory import ran_out_of_memory, too_large
from fewlabels.training.monitor import Monitor
from fewlabels.training.processes import Processes
from fewlabels.training.recipe import Recipe
from fewlabels.training.recovery import Recovery

Loss = Callable[[Batch], dict[str, Tensor]]
Accuracies = Callable[[], dict[str, float]]
EVALUATIONS = 6
# Name of the loss on labeled samples, where there is another beside it.
LABELED = "supervised"


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
    agreement: bool = False,
    state: dict[str, Any] | None = None,
    checkpoint: Stage | None = None,
    keep: KeptWeights | None = None,
    processes: Processes | None = None,
    evaluations: int = EVALUATIONS,
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
        Returns named accuracies of the nets as they are, and maybe guesses for pool samples (see
        `fewlabels.methods.looks`); called `evaluations` times, the last at the end.
    rate_factors : dict of str to float, optional
        Learning rates of the parameters whose name begins so, as a multiple of the recipe's.
    after_step : callable, optional
        Called after each step, when the weights have moved.
    agreement : bool
        Leave out the gradient of all losses but "supervised" in steps in which it points against that one's (Huang
        et al., "Fix-A-Step: semi-supervised learning from uncurated unlabeled data", 2023).
    state : dict, optional
        What else the steps change: what a method keeps, generators that layers draw from.
    checkpoint : Stage, optional
        Where the training is saved, and continued from.
    keep : KeptWeights, optional
        Is told of the last weights, before an average replaces them, and of every look at accuracies.
    processes : Processes, optional
        That train the same nets on the same batches, each its share of the rows.
    evaluations : int
        How often accuracies are looked at, at least 1.

    Raises
    ------
    InputError
        If a step does not fit into memory; the message says which batch size does.
    Diverged
        If loss or gradients are not finite, also at lower learning rates.
    Interrupted
        If the training is to stop, and `checkpoint` has saved it.
    """
    if processes is not None:
        processes.same_weights(nets)
    optimizers = recipe.optimizers(nets, rate_factors or {})
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    average = WeightAverage(nets, recipe.ema_decay) if recipe.ema_decay > 0 else None
    device = next(nets.parameters()).device
    looks = {round(steps * (i + 1) / evaluations) for i in range(evaluations)} - {0}
    moving = {"nets": nets, "optimizers": optimizers, "average": average, **(state or {})}
    if isinstance(batches, Batches):
        moving["batches"] = batches
    recovery = Recovery({**moving, "kept": keep}, stage, steps, recipe, monitor, device)

    def gradients(batch: Batch) -> tuple[dict[str, Tensor], Tensor | None]:
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        lower = recipe.precision != torch.float32
        # Without autocast's cache: before PyTorch 2.11 it kept weights that were cast for guesses without gradients,
        # and the passes that were to learn then gave these no gradient either.
        with torch.autocast(device.type, recipe.precision, enabled=lower, cache_enabled=False):
            losses = loss(batch)
        if agreement and len(losses) > 1 and LABELED in losses:
            return losses, backward_where_agreed(nets, losses, processes)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        if processes is not None:
            processes.average([p.grad for p in nets.parameters() if p.grad is not None])
        return losses, None

    resumed = 0 if checkpoint is None else checkpoint.resume({**moving, "recovery": recovery}, steps)
    if resumed:
        monitor.tell_again()
    else:
        monitor.begin(stage, steps)
    nets.train()
    with contextlib.nullcontext() if checkpoint is None else checkpoint.signals.deferred():
        done = resumed
        recovery.keep(done)
        while done < steps:
            factor = recovery.rate * recipe.factor(done, steps)
            for optimizer, rates in zip(optimizers, peaks, strict=True):
                for group, peak in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = peak * factor
            batch = next(batches)
            batch.progress = done / steps
            fits = True
            try:
                losses, agreed = gradients(batch)
            except (RuntimeError, MemoryError) as error:
                if not ran_out_of_memory(error):
                    raise
                fits = False
            if not fits:  # with the error gone, which holds on to all that the step had made
                raise too_large(batch, None if processes else gradients)
            unlabeled = 0 if batch.unlabeled is None else batch.pool_passes * len(batch.unlabeled)
            images = batch.labeled_passes * len(batch.labeled) + unlabeled
            if recovery.went_wrong(done, batch, losses):
                monitor.gradient_images += images
                done = recovery.roll_back()
                continue
            # Here, and not after the step: what the weights have come to is good where the next loss is.
            recovery.keep(done)
            if agreed is not None:
                monitor.add_agreement(agreed)
            for optimizer in optimizers:
                optimizer.step()
            if average is not None:
                average.update()
            if after_step is not None:
                after_step()
            monitor.add({name: value.detach() for name, value in losses.items()}, images, batch.admitted)
            done += 1
            if monitor.is_due(done, steps) or done in looks:
                if done == steps and keep is not None:
                    keep.last(done)
                if done == steps and average is not None:
                    average.copy_to(nets)
                measured = accuracies() if accuracies is not None and done in looks else {}
                if keep is not None:
                    keep.look(done, measured)
                nets.train()
                monitor.report(done, steps, recipe.learning_rate * factor, measured)
            if checkpoint is not None and recovery.is_settled:
                checkpoint.after_step(done, {**moving, "recovery": recovery})
        nets.eval()
        if checkpoint is not None:
            checkpoint.finish(nets)


def backward_where_agreed(nets: nn.Module, losses: dict[str, Tensor], processes: Processes | None = None) -> Tensor:
    """Give parameters the gradient of the labeled loss, and of the others where their sum does not point against it.

    Parameters
    ----------
    nets : nn.Module
        Whose trainable parameters get gradients.
    losses : dict of str to Tensor
        With `LABELED` among them.
    processes : Processes, optional
        Over which gradients are averaged before they are compared.

    Returns
    -------
    Tensor
        1 if the others' gradient was added, 0 if it was left out; on the device, where nothing waits for it.

    Examples
    --------
    >>> net = nn.Linear(1, 1, bias=False)
    >>> weight = net.weight.sum()
    >>> agreed = backward_where_agreed(net, {"supervised": 2 * weight, "consistency": -weight})
    >>> agreed.item(), net.weight.grad.item()
    (0.0, 2.0)
    """
    parameters = [parameter for parameter in nets.parameters() if parameter.requires_grad]
    others = torch.stack([value for name, value in losses.items() if name != LABELED]).sum()
    labeled = torch.autograd.grad(losses[LABELED], parameters, retain_graph=True, allow_unused=True)
    pool = torch.autograd.grad(others, parameters, allow_unused=True)
    if processes is not None:
        processes.average([gradient for gradient in (*labeled, *pool) if gradient is not None])
    both = [(a, b) for a, b in zip(labeled, pool, strict=True) if a is not None and b is not None]
    inner = torch.stack([(a.float() * b.float()).sum() for a, b in both]).sum() if both else torch.zeros(())
    agreed = (inner >= 0).to(others.dtype)
    for parameter, a, b in zip(parameters, labeled, pool, strict=True):
        if a is None:
            parameter.grad = None if b is None else agreed * b
        else:
            parameter.grad = a if b is None else a + agreed * b
    return agreed
