"""Finds where the host would wait for a device: what reads values back, seen on the CPU."""

import traceback
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import fewlabels

PACKAGE = str(Path(fewlabels.__file__).parent)

# What asks a device for a number, or for a shape that depends on values.
READS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "bincount", "unique_dim"}
COPIES = ("cpu", "numpy", "tolist", "__array__")


class Waits(TorchDispatchMode):
    """While entered, notes every operation for which the host would wait for a device, and where it was called.

    Attributes
    ----------
    found : list of str
        Operation, file and line.
    """

    def __init__(self):
        super().__init__()
        self.found = []
        self._kept = {}

    def __enter__(self):
        for name in COPIES:
            self._kept[name] = getattr(torch.Tensor, name)
            setattr(torch.Tensor, name, self._noting(name, self._kept[name]))
        return super().__enter__()

    def __exit__(self, *error):
        for name, original in self._kept.items():
            setattr(torch.Tensor, name, original)
        return super().__exit__(*error)

    def _noting(self, name, original):
        def noted(tensor, *args, **kwargs):
            self._note(name)
            return original(tensor, *args, **kwargs)

        return noted

    def _note(self, name):
        frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(PACKAGE)]
        # What a generator of the host draws is on the host already, also where there is another device.
        if not frames or "self._host" not in frames[-1].line:
            self.found.append(f"{name} in {f'{frames[-1].filename}:{frames[-1].lineno}' if frames else '?'}")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in READS or name.startswith("_unique") or (name in ("index", "index_put_") and _by_mask(args[1])):
            self._note(name)
        return func(*args, **(kwargs or {}))


def _by_mask(indices):
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)
