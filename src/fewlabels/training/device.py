"""Where to compute."""

from __future__ import annotations

import torch

from fewlabels.storage.errors import InputError


def choose_device(device: str) -> torch.device:
    """Return the device for "auto" (CUDA, then Apple's MPS, then the CPU) or for a device's name.

    Raises
    ------
    InputError
        If there is no such device.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} is not available here; use 'auto' or 'cpu'") from error
    return chosen


def has_room(device: torch.device, nbytes: int) -> bool:
    """Say whether data of that size may be kept on a device: a GPU with four times as much memory free.

    Examples
    --------
    >>> has_room(torch.device("cpu"), 1)  # it is in this memory already, or on disk to spare it
    False
    """
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return 4 * nbytes <= free
