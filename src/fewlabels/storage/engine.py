"""Who does what can be done in parts: this process, or a Ray cluster."""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Iterator
from typing import Any

from fewlabels.storage.errors import InputError
from fewlabels.storage.wording import first_line

ENGINES = ("local", "ray")


def check_engine(engine: str) -> None:
    """Refuse an engine that there is not."""
    if engine not in ENGINES:
        raise InputError(f"unknown engine {engine!r}; expected {' or '.join(ENGINES)}")


def import_ray(*modules: str) -> Any:
    """Return Ray, with such of its modules as `"ray.data"`; InputError where it is not installed."""
    try:
        import ray

        for name in modules:
            importlib.import_module(name)
    except ImportError as error:
        raise InputError("the engine ray needs Ray: pip install 'fewlabels[ray]'") from error
    return ray


@contextlib.contextmanager
def ray_cluster(*modules: str) -> Iterator[Any]:
    """Have Ray, connected to a cluster, in a block; `modules` are those of Ray's that the block needs.

    A cluster that this process is connected to already is used, and stays connected. Else it is the one that
    `RAY_ADDRESS` names, or the one that `ray start` has begun on this machine, or a new one, until the block ends;
    those of other commands are left alone.

    Raises
    ------
    InputError
        If Ray is not installed, or the cluster cannot be reached or started.
    """
    ray = import_ray(*modules)
    started = not ray.is_initialized()
    if started:
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise InputError(
                f"no Ray cluster is to be had: {first_line(error)}; RAY_ADDRESS=HOST:PORT names one, RAY_ADDRESS=local "
                "starts one for this command, and `ray stop` forgets one that has died"
            ) from error
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()
