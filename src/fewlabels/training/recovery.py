"""Numbers that go wrong: a step whose loss or gradients are not finite is not taken, and training steps back."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor, nn

from fewlabels.storage.errors import InputError
from fewlabels.training.batches import Batch
from fewlabels.training.monitor import Monitor
from fewlabels.training.recipe import Recipe
from fewlabels.training.snapshot import Snapshot, capture, restore

ATTEMPTS = 3
_NAMED = 8
_LOWER = 1 / 3
_STATES = 20
# On a GPU a look at a number makes the host wait for all that was asked of it: one in so many steps.
_LOOK_EVERY = 16


class Diverged(InputError):
    """Loss or gradients were not finite, and lower learning rates did not help.

    Parameters
    ----------
    what, advice : str
        What happened and what to do.
    labeled, pool : list
        The labeled and the pool samples of the batch: row numbers, or names.

    Examples
    --------
    >>> error = Diverged("step 3 went wrong", "try a lower rate", [4, 2], [])
    >>> error.name(["a.png", "b.png", "c.png", "d.png", "e.png"], None)
    >>> print(error)
    step 3 went wrong; the batch held the labeled samples e.png, c.png; try a lower rate
    """

    def __init__(self, what: str, advice: str, labeled: list[Any], pool: list[Any]) -> None:
        # All of them: what is sent from one process to another is made again of these.
        super().__init__(what, advice, labeled, pool)
        self.what, self.advice, self.labeled, self.pool = what, advice, labeled, pool

    def name(self, labeled: Any, pool: Any) -> None:
        """Put names (or other numbers, both by row) in the place of row numbers; None leaves them."""
        if labeled is not None:
            self.labeled = [labeled[row] for row in self.labeled]
        if pool is not None:
            # The pool may end with samples that were not given as such.
            self.pool = [pool[row] if row < len(pool) else row for row in self.pool]

    def __str__(self) -> str:
        parts = [self.what]
        for what, names in (("labeled", self.labeled), ("pool", self.pool)):
            if names:
                more = ", …" if len(names) > _NAMED else ""
                shown = ", ".join(str(name).encode("unicode_escape").decode() for name in names[:_NAMED])
                parts.append(f"the batch held the {what} samples {shown}{more}")
        return "; ".join([*parts, self.advice])


class Recovery:
    """Keeps the last good state of a training in memory, and goes back to it.

    Parameters
    ----------
    moving : dict
        All that a step changes; its "nets" are looked at.
    stage : str
        As people read it.
    steps : int
        Length of the training.
    recipe : Recipe
        Whose learning rate is lowered.
    monitor : Monitor
        Is told.
    device : torch.device
        Where the nets lie.

    Attributes
    ----------
    rate : float
        What the learning rate is multiplied by: a third of what it was after each time that training went back.
    """

    moves = ("rate", "_attempts")

    def __init__(
        self,
        moving: dict[str, Any],
        stage: str,
        steps: int,
        recipe: Recipe,
        monitor: Monitor,
        device: torch.device,
    ) -> None:
        self._moving, self._stage, self._steps = moving, stage, steps
        self._recipe, self._monitor, self._device = recipe, monitor, device
        self.rate = 1.0
        self._attempts = 0
        self._every = max(1, steps // _STATES)
        self._look_every = 1 if device.type == "cpu" else _LOOK_EVERY
        self._parameters = [p for p in moving["nets"].parameters() if p.requires_grad]
        self._good: Snapshot | None = None
        self._good_step = 0
        self._recent: deque[tuple[int, Batch, dict[str, Tensor], Tensor]] = deque(maxlen=self._look_every)
        self._wrong: tuple[int, Batch, dict[str, Tensor]] | None = None

    def keep(self, done: int) -> None:
        """Keep the state after so many steps, when it is time for that and all before was well."""
        due = done >= self._good_step + self._every and self.is_settled
        # Statistics overflow before the loss does. The first state is all that there is.
        if self._good is not None and not (due and _is_finite(self._moving["nets"])):
            return
        # Let go of the old one first: there is room for one.
        self._good = None
        self._good, self._good_step = capture(self._moving), done
        self._monitor.remember()

    @property
    def is_settled(self) -> bool:
        """Whether every step so far was looked at."""
        return not self._recent

    def went_wrong(self, done: int, batch: Batch, losses: dict[str, Tensor]) -> bool:
        """Say whether loss and gradients of a step, or of one shortly before, are not finite.

        Parameters
        ----------
        done : int
            Steps before this one.
        batch : Batch
            What it learns from.
        losses : dict of str to Tensor
            Its named losses; the gradients are those that the parameters have.
        """
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        losses = {name: value.detach() for name, value in losses.items()}
        total = torch.stack([value.float() for value in losses.values()]).sum()
        fine = torch.isfinite(total + torch.stack(torch._foreach_norm(gradients)).sum() if gradients else total)
        self._recent.append((done, batch, losses, fine))
        due = (
            len(self._recent) == self._look_every
            or done + 1 == self._steps
            or self._monitor.is_due(done + 1, self._steps)
        )
        if not due:
            return False
        for number, its_batch, its_losses, its_fine in self._recent:
            if not bool(its_fine):
                self._wrong = number, its_batch, its_losses
                self._recent.clear()
                return True
        self._recent.clear()
        return False

    def roll_back(self) -> int:
        """Put the last good state back, lower the rate, and return the step to go on from.

        Raises
        ------
        Diverged
            If that was done three times already.
        """
        assert self._wrong is not None
        assert self._good is not None
        step, batch, losses = self._wrong
        self._wrong = None
        cause = self._cause(batch, losses)
        if self._attempts == ATTEMPTS:
            rate = f"{self._recipe.learning_rate * self.rate:.2g}"
            raise Diverged(
                f"{self._stage} is no longer finite in step {step + 1} of {self._steps}, also at lower rates, the last "
                f"{rate}: {cause}",
                f"try a learning rate below {rate}, or precision='float32'",
                _rows(batch.labeled_rows),
                _rows(batch.unlabeled_rows),
            )
        restore(self._moving, self._good, self._device)
        self._attempts += 1
        self.rate *= _LOWER
        self._monitor.forget(self._good_step)
        self._monitor.note(
            f"{self._stage}: in step {step + 1} of {self._steps}, {cause}; went back to step {self._good_step} and on "
            f"with a third of the learning rate, {self._recipe.learning_rate * self.rate:.2g}"
        )
        return self._good_step

    def _cause(self, batch: Batch, losses: dict[str, Tensor]) -> str:
        for what, samples in (("labeled", batch.labeled), ("pool", batch.unlabeled)):
            if samples is not None and samples.is_floating_point() and not bool(torch.isfinite(samples).all()):
                return f"{what} samples held numbers that are not finite"
        if not _is_finite(self._moving["nets"]):
            return "weights had grown beyond what numbers can hold"
        wrong = [name for name, value in losses.items() if not bool(torch.isfinite(value))]
        if wrong:
            return f"the loss ({', '.join(wrong)}) was not finite"
        return "the loss was finite and its gradient was not"


def _is_finite(nets: nn.Module) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in nets.state_dict().values() if value.is_floating_point())


def _rows(rows: Tensor | None) -> list[int]:
    return [] if rows is None else [int(row) for row in rows.tolist()]
