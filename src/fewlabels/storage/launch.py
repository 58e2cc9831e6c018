"""What a launcher of several processes, `torchrun` or `accelerate launch`, tells each of them in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from fewlabels.storage.errors import InputError


@dataclass(frozen=True)
class Launch:
    """Which of how many processes this one was started as.

    Attributes
    ----------
    rank : int
        Its number, from 0.
    count : int
        How many there are, on all hosts.
    local_rank : int
        Its number on this host, from 0.
    restarts : int
        How often all of them were started anew, since one of them had failed.
    shares_store : bool
        Whether the launcher itself keeps what they tell each other of where they are.

    Examples
    --------
    >>> Launch.read({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
    Launch(rank=3, count=4, local_rank=1, restarts=0, shares_store=False)
    >>> Launch.read({}).is_one_of_several
    False
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    restarts: int = 0
    shares_store: bool = False

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return what the environment says.

        Raises
        ------
        InputError
            If a number is none.
        """
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT")
        values = [environment.get(name, default) for name, default in zip(names, "0100", strict=True)]
        for name, value in zip(names, values, strict=True):
            if not value.isdigit():
                raise InputError(f"{name}={value!r} in the environment is no number; unset it, or start by torchrun")
        shares = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        rank, count, local_rank, restarts = (int(value) for value in values)
        return cls(rank, count, local_rank, restarts, shares)

    @property
    def is_one_of_several(self) -> bool:
        """Whether there are others."""
        return self.count > 1
