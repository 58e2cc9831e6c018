"""What makes two trainings the same one: settings, data and seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn
import torch
from torch import nn

from fewlabels.data.streamed import StreamedRows
from fewlabels.training.batches import Rows

if TYPE_CHECKING:
    from fewlabels.methods.base import SemiSupervisedClassifier
    from fewlabels.methods.session import Session

_COMPARED = 256
# Bytes of a pool that are compared whole; of a larger one some samples are.
_WHOLE = 256 << 20
# Settings that change nothing of the result, or that have their own entry.
_ASIDE = ("verbose", "random_state")


def description(method: SemiSupervisedClassifier, session: Session) -> dict[str, Any]:
    """Return what a checkpoint is compared by before it is continued, as JSON has it.

    Parameters
    ----------
    method : SemiSupervisedClassifier
        As its user has set it.
    session : Session
        Of its fit.

    Returns
    -------
    dict
        `method`, `seed`, `settings`, `labeled`, `held_out` and `pool` (hashes; of a large pool, of some samples; of one
        that is read as a stream, of its files' names, sizes and versions).
    """
    settings = {name: value for name, value in method.get_params(deep=False).items() if name not in _ASIDE}
    return {
        "method": type(method).__name__,
        # Before the samples: which of them are held out follows from it.
        "seed": session.seed,
        # As JSON gives it back: a tuple becomes a list there, and an object a text.
        "settings": json.loads(json.dumps(settings, default=_told)),
        "labeled": _hash([session.labeled.samples, session.labeled.targets]),
        "held_out": _hash([session.validation.samples, session.validation.targets]),
        "pool": _hash_of_pool(session.pool),
    }


def conditions(device: torch.device, precision: torch.dtype, processes: int = 1) -> dict[str, Any]:
    """Return what a training's last bits depend on beside its description.

    Examples
    --------
    >>> found = conditions(torch.device("cpu"), torch.bfloat16)
    >>> found["device"], found["precision"]
    ('cpu', 'bfloat16')
    """
    return {
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": str(precision).removeprefix("torch."),
        "processes": processes,
    }


def _told(value: object) -> str:
    """Return what a setting is that JSON has not: of a net, its weights."""
    if isinstance(value, nn.Module):
        weights = [w.float() if w.is_floating_point() else w for w in value.state_dict().values()]
        return f"{type(value).__name__} {_hash(weights)}"
    return str(value)


def _hash(tensors: Iterable[torch.Tensor]) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(np.ascontiguousarray(tensor.cpu().numpy()).tobytes())
    return found.hexdigest()


def _hash_of_pool(rows: Rows) -> str:
    return " ".join([str(len(rows)), *map(_hash_of_source, rows.sources)]) if len(rows) else "none"


def _hash_of_source(source: Any) -> str:
    if isinstance(source, StreamedRows):
        # As many blocks as fit into the limit are shuffled with each other.
        return f"{source.content_key} {source.window}"
    rows = Rows([source])
    if rows.nbytes() <= _WHOLE:
        return _hash(rows.chunks(_COMPARED, torch.device("cpu")))
    return _hash([rows.sample(_COMPARED, torch.device("cpu"))])
