"""MLflow: runs in the store that `MLFLOW_TRACKING_URI` names, else in `mlflow.db` of the folder that is worked in."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from fewlabels.storage.errors import InputError
from fewlabels.storage.wording import first_line
from fewlabels.tracking.tracker import FAILED, FINISHED, STOPPED, Entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT = "fewlabels"
# A store gets what has come together in this time at once: a call for each event would keep training waiting.
_EVERY_SECONDS = 1.0
# What a store takes in one call, and how long a value may be.
_MOST_METRICS, _MOST_PARAMETERS, _LONGEST = 1000, 100, 6000
_STATUS = {FINISHED: "FINISHED", STOPPED: "KILLED", FAILED: "FAILED"}
_KEY, _HASH, _PARENT = "fewlabels.run", "fewlabels.run_sha256", "mlflow.parentRunId"
_P = ParamSpec("_P")
_R = TypeVar("_R")


@contextlib.contextmanager
def _calmly() -> Iterator[None]:
    """Keep what MLflow says of the packages that it uses itself away from whoever trains."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _calm(call: Callable[_P, _R]) -> Callable[_P, _R]:
    @functools.wraps(call)
    def calmly(*words: _P.args, **options: _P.kwargs) -> _R:
        with _calmly():
            return call(*words, **options)

    return calmly


@_calm
def check() -> None:
    """Refuse to begin where MLflow is not installed, or its store does not answer."""
    # No call goes anywhere but to the store; whoever wants MLflow's own reports says so in these variables.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Each time waits twice as long: the seven of MLflow's own would keep a training waiting for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    try:
        import mlflow
    except ImportError as error:
        raise InputError(
            "--track mlflow needs a package that is not installed: pip install 'fewlabels[mlflow]'"
        ) from error
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        _experiment(_client())
    except Exception as error:  # of any kind: of the store, its database, the network
        raise InputError(
            f"MLflow's store {mlflow.get_tracking_uri()} cannot be used ({first_line(error)}); set "
            "MLFLOW_TRACKING_URI to a server or a database such as sqlite:///mlflow.db"
        ) from error


class Mlflow:
    """Writes one run of MLflow.

    Parameters
    ----------
    entry : Entry
        A resumed one goes on with the newest run that was begun with the same name and folder.
    """

    @_calm
    def __init__(self, entry: Entry) -> None:
        self._client = _client()
        self.stored: dict[str, int] = {}
        # What the store shows for each name and step of an earlier process: what is taken back and told again is in
        # most cases the same, and a store keeps it twice.
        self._shown: dict[tuple[str, int], float] = {}
        self._waiting: list[Any] = []
        self._sent = time.monotonic()
        key = f"{entry.folder.resolve()}::{entry.name}"
        experiment = _experiment(self._client)
        before = self._before(experiment, key) if entry.resumed else None
        if before is None:
            tags = {_KEY: key, _HASH: _hash_of(key), **entry.facts, **({_PARENT: entry.parent} if entry.parent else {})}
            self.run = self._client.create_run(experiment, run_name=entry.name, tags=tags).info.run_id
        else:
            self.run = before.info.run_id
            self._client.update_run(self.run, status="RUNNING")
            for name in before.data.metrics:
                history = sorted(self._client.get_metric_history(self.run, name), key=lambda metric: metric.timestamp)
                self.stored[name] = max(metric.step for metric in history)
                self._shown |= {(name, metric.step): metric.value for metric in history}
            for artifact in self._client.list_artifacts(self.run):
                self.stored[artifact.path] = 0
        # A store keeps the first value for good; what may change when a run goes on is how much is said of it.
        kept = {} if before is None else before.data.params
        self._describe({name: value for name, value in entry.settings.items() if name not in kept})

    @_calm
    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Keep finite numbers by name."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        new = {name: value for name, value in values.items() if self._shown.pop((name, step), None) != value}
        self._waiting += [Metric(name, value, now, step) for name, value in new.items()]
        if time.monotonic() - self._sent >= _EVERY_SECONDS:
            self._send()

    def take_back(self, step: int) -> None:
        """Do nothing: MLflow keeps every value, and shows the later one of a step."""

    @_calm
    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Keep a picture."""
        self._client.log_figure(self.run, figure, _file_of(name))

    @_calm
    def file(self, path: Path) -> None:
        """Keep a file."""
        self._client.log_artifact(self.run, str(path))

    @_calm
    def end(self, status: str) -> None:
        """Write what is left and close the run."""
        self._send()
        self._client.set_terminated(self.run, _STATUS[status])

    def _send(self) -> None:
        for start in range(0, len(self._waiting), _MOST_METRICS):
            self._client.log_batch(self.run, metrics=self._waiting[start : start + _MOST_METRICS])
        self._waiting, self._sent = [], time.monotonic()

    def _describe(self, settings: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        known = [Param(name, str(value)[:_LONGEST]) for name, value in settings.items()]
        for start in range(0, len(known), _MOST_PARAMETERS):
            self._client.log_batch(self.run, params=known[start : start + _MOST_PARAMETERS])

    def _before(self, experiment: str, key: str) -> Any:
        # The store's language has no way to write an apostrophe; runs of earlier versions have the key alone.
        wanted = [f"tags.`{_HASH}` = '{_hash_of(key)}'", *([] if "'" in key else [f"tags.`{_KEY}` = '{key}'"])]
        for condition in wanted:
            found = self._client.search_runs(
                [experiment], condition, max_results=1, order_by=["attributes.start_time DESC"]
            )
            if found:
                return found[0]
        return None


def _hash_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _client() -> Any:
    from mlflow import MlflowClient

    return MlflowClient()


def _experiment(client: Any) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise InputError(f"its experiment {name!r} was deleted; restore it, or name another in MLFLOW_EXPERIMENT_NAME")
    return str(client.create_experiment(name) if found is None else found.experiment_id)


def _file_of(name: str) -> str:
    return name.replace("/", "_") + ".png"
