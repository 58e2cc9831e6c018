"""The state of a training as tensors and JSON: taken at any time, put back bit for bit, with no pickle between."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fewlabels.storage.errors import InputError


@dataclass(frozen=True)
class Snapshot:
    """A state that can be put back.

    Attributes
    ----------
    tree : object
        What JSON has: scalars as they are, everything else as `[kind, content]`.
    tensors : dict of str to Tensor
        Copies, on the device they were on, by the place in the tree.
    """

    tree: Any
    tensors: dict[str, Tensor]

    def text(self) -> str:
        """Return the tree as JSON; floats come back from it bit for bit."""
        return json.dumps(self.tree)


def capture(value: Any) -> Snapshot:
    """Return a copy of everything that moves in a training.

    Parameters
    ----------
    value : object
        Scalars, tensors, arrays, generators of PyTorch and NumPy, nets, optimizers, and dicts, lists, tuples and
        plain objects of such. Of an object that names what moves in `moves`, only those attributes.

    Raises
    ------
    TypeError
        If there is something else in it.

    Examples
    --------
    >>> draws, kept = np.random.default_rng(0), {"seen": torch.zeros(2)}
    >>> before = capture([draws, kept])
    >>> first = draws.integers(100), kept["seen"].add_(1)
    >>> _ = restore([draws, kept], before)
    >>> bool(first[0] == draws.integers(100)), kept["seen"].tolist()
    (True, [0.0, 0.0])
    """
    tensors: dict[str, Tensor] = {}
    return Snapshot(_capture(value, "", tensors), tensors)


def restore(value: Any, snapshot: Snapshot, device: torch.device | None = None) -> Any:
    """Put a captured state back, and return what now stands for `value`.

    Parameters
    ----------
    value : object
        As it was captured, or made anew in the same way. What has an identity (nets, optimizers, generators, objects,
        dicts, lists) is changed in place.
    snapshot : Snapshot
        From `capture`.
    device : torch.device, optional
        Where tensors go that have no counterpart in `value`.

    Raises
    ------
    InputError
        If the value is not of the kind that was captured.
    """
    return _restore(value, snapshot.tree, snapshot.tensors, device)


def _capture(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case np.generic():
            return value.item()
        case Tensor():
            tensors[place] = value.detach().clone()
            return ["tensor", place]
        case np.ndarray():
            tensors[place] = torch.from_numpy(value.copy())
            return ["array", place]
        case torch.Generator():
            tensors[place] = value.get_state()
            return ["generator", place]
        case np.random.Generator():
            return ["random", value.bit_generator.state]
        case nn.Module() if not hasattr(value, "moves"):
            return ["module", _capture_all(value.state_dict(), place, tensors)]
        case torch.optim.Optimizer():
            states = {str(i): value.state[p] for i, p in enumerate(_parameters(value)) if p in value.state}
            return ["optimizer", _capture_all(states, place, tensors)]
        case dict():
            return ["dict", _capture_all(value, place, tensors)]
        case list() | tuple():
            kind = "list" if isinstance(value, list) else "tuple"
            return [kind, [_capture(item, f"{place}/{i}", tensors) for i, item in enumerate(value)]]
    if not hasattr(value, "moves") and (callable(value) or not hasattr(value, "__dict__")):
        raise TypeError(f"a {type(value).__name__} ({place}) cannot be part of a checkpoint")
    return ["object", _capture_all(_moving(value), place, tensors)]


def _capture_all(values: dict[str, Any], place: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: _capture(item, f"{place}/{name}", tensors) for name, item in values.items()}


def _restore(value: Any, node: Any, tensors: dict[str, Tensor], device: torch.device | None) -> Any:
    if not isinstance(node, list):
        return node
    kind, content = node
    match kind:
        case "tensor":
            return _like(value, tensors[content], device)
        case "array":
            return tensors[content].cpu().numpy().copy()
        case "generator":
            value.set_state(tensors[content].cpu())
        case "random":
            value.bit_generator.state = content
        case "module":
            _fill(value, {name: tensors[item[1]] for name, item in content.items()})
        case "optimizer":
            parameters = _parameters(value)
            # Before the first step there is none, and what came later is not to stay.
            value.state.clear()
            for index, states in content.items():
                parameter = parameters[int(index)]
                # What is of the parameter's shape lies as it does; a step's number stays on the host.
                value.state[parameter] = {
                    name: _restore(parameter, item, tensors, torch.device("cpu")) for name, item in states[1].items()
                }
        case "dict":
            value = value if isinstance(value, dict) else {}
            restored = {name: _restore(value.get(name), item, tensors, device) for name, item in content.items()}
            value.clear()
            value.update(restored)
        case "list" | "tuple":
            before = list(value) if isinstance(value, list | tuple) else []
            before += [None] * (len(content) - len(before))
            items = [_restore(old, item, tensors, device) for old, item in zip(before, content, strict=False)]
            if kind == "tuple":
                return tuple(items)
            value = value if isinstance(value, list) else []
            value[:] = items
        case _:
            _restore_object(value, content, tensors, device)
    return value


def _restore_object(
    value: Any, content: dict[str, Any], tensors: dict[str, Tensor], device: torch.device | None
) -> None:
    if value is None:
        raise InputError("the checkpoint holds state that this training does not have; it is of another version")
    for name, item in content.items():
        before = getattr(value, name, None)
        after = _restore(before, item, tensors, device)
        if after is not before:
            setattr(value, name, after)


def _moving(value: Any) -> dict[str, Any]:
    names = getattr(value, "moves", None)
    return dict(vars(value)) if names is None else {name: getattr(value, name) for name in names}


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _like(value: Any, tensor: Tensor, device: torch.device | None) -> Tensor:
    # The same order in memory too: sums over another order differ in their last bits.
    if isinstance(value, Tensor) and value.shape == tensor.shape:
        return torch.empty_like(value, dtype=tensor.dtype, requires_grad=False).copy_(tensor)
    return tensor.to(device, copy=True) if device is not None else tensor.clone()


@torch.no_grad()
def _fill(nets: nn.Module, tensors: dict[str, Tensor]) -> None:
    own = nets.state_dict()
    if own.keys() != tensors.keys() or any(own[name].shape != tensor.shape for name, tensor in tensors.items()):
        raise InputError("the checkpoint holds another net than this training has; it is of other settings")
    for name, tensor in tensors.items():
        own[name].copy_(tensor)
