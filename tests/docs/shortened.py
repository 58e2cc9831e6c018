"""`fewlabels` with a few steps of a narrow net and without a network: what the blocks of the docs run against."""

from __future__ import annotations

import socket
import sys
from functools import partial
from typing import Any

STEPS = 2
# In place of any time: a few steps of each stage, and no waiting.
BUDGET = "1k images"
# Of the net that is taken where none is named.
WIDTHS = (8, 16, 32)


def defaults() -> dict[str, int]:
    """Return the lengths that `fewlabels.methods.settings` takes where nothing is said, and their short stand-ins."""
    return {"_DEFAULT_STEPS": STEPS, "_DEFAULT_SMALL_STEPS": STEPS}


def small_nets() -> dict[str, Any]:
    """Return what `fewlabels.nets.registry` names, and its narrow stand-in."""
    from fewlabels.nets.fast import FastNet

    return {"fast": partial(FastNet, widths=WIDTHS)}


def connect_nowhere(self: socket.socket, address: Any) -> None:
    """Stand in for `socket.socket.connect`."""
    raise AssertionError(f"a block of the docs connects to {address}")


def with_short_budget(words: list[str]) -> list[str]:
    """Return the words of a command, any budget replaced, and the length of a pretraining."""
    short = [f"pretraining_steps={STEPS}" if word.startswith("pretraining_steps=") else word for word in words]
    return [BUDGET if before == "--budget" else word for before, word in zip(["", *short[:-1]], short, strict=True)]


def main() -> None:
    """Run the command line: with the arguments of this process, but for the length."""
    from fewlabels import cli
    from fewlabels.methods import settings
    from fewlabels.nets import registry

    registry._ENCODERS.update(small_nets())
    for name, steps in defaults().items():
        assert hasattr(settings, name)
        setattr(settings, name, steps)
    socket.socket.connect = connect_nowhere  # type: ignore[method-assign]
    sys.argv = with_short_budget(sys.argv)
    cli.main()


if __name__ == "__main__":
    main()
