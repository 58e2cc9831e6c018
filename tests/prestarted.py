"""Processes of one that has imported what takes long: where these are short, that is most of their time."""

from __future__ import annotations

import atexit
import contextlib
import gc
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

_PRELOADED = ("fewlabels.data", "fewlabels.report", "fewlabels.methods", "sklearn.datasets", "gradio")


def context() -> Any:
    """Return what makes processes of `multiprocessing` in such a way."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(list(_PRELOADED))
    with pytest.MonkeyPatch.context() as patch:
        # Of the one that all come from; threads do not come along.
        patch.setenv("OMP_NUM_THREADS", "1")
        forkserver.ensure_running()
    return made


def context_as_spawned() -> Any:
    """Return the same with the tests' environment of the moment, as processes that are spawned have it."""

    def process(*, target: Callable[..., object], args: tuple, **more: Any) -> Any:
        return made.Process(target=_in_environment, args=(dict(os.environ), target, args), **more)

    made = context()
    return SimpleNamespace(Pipe=made.Pipe, Process=process)


class Started:
    """A process, with what of `subprocess.Popen` tests ask for.

    Parameters
    ----------
    work : callable
        Called there with `given`; what it leaves as `sys.argv` and `sys.modules` are its own.
    given : tuple
        What it is called with.
    folder : Path, optional
        Where it works.
    environment : mapping, optional
        All of its environment; that of the tests, when not given.
    out, errors : Path
        Files, pipes or terminals that its standard output and standard error are added to.
    """

    def __init__(
        self,
        work: Callable[..., object],
        *given: object,
        out: Path,
        errors: Path,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        for said in (out, errors):
            said.touch()
        environment = dict(os.environ if environment is None else environment) | {"OMP_NUM_THREADS": "1"}
        settings = (environment, folder or Path.cwd(), out, errors)
        self._process = context().Process(target=_begin, args=(settings, work, given))
        self._process.start()
        # How it ended can be read but once.
        self._reading = threading.Lock()
        self.out, self.errors = out, errors

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        with self._reading:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        if not wait([self._process.sentinel], timeout):
            raise subprocess.TimeoutExpired("a process", timeout or 0)
        return self.poll()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        return self.out.read_text(), self.errors.read_text()

    def send_signal(self, kind: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, kind)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    work: Callable[..., object], *given: object, environment: Mapping[str, str] | None = None, timeout: float = 900
) -> subprocess.CompletedProcess[str]:
    """Return such a process that has ended, as `subprocess.run` does."""
    with tempfile.TemporaryDirectory() as said:
        out, errors = Path(said) / "out", Path(said) / "errors"
        process = Started(work, *given, environment=environment, out=out, errors=errors)
        try:
            told = process.communicate(timeout)
        finally:
            process.kill()
    return subprocess.CompletedProcess(given, process.returncode, *told)


def fewlabels(*words: object) -> tuple[Callable[..., object], str, tuple[str, ...]]:
    """Return what makes of a process the command line: the first arguments of `Started`."""
    return module, "fewlabels", tuple(map(str, words))


def starting_fewlabels(words: tuple[str, ...]) -> None:
    """Be a command line that says that it is starting, as where PyTorch is yet to be imported."""
    # Here, since it looks at the environment as it is imported.
    from fewlabels.cli.app import starting

    starting.__wrapped__.__defaults__ = (False, "what is yet to be imported")
    module("fewlabels", words)


def module(name: str, words: tuple[str, ...]) -> None:
    """Run a module as `python -m` does."""
    sys.argv = ["", *words]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


def file(path: Path, words: tuple[str, ...]) -> None:
    """Run a file as `python` does."""
    sys.argv = [str(path), *words]
    runpy.run_path(str(path), run_name="__main__")


def script(source: str, words: tuple[str, ...]) -> None:
    """Run source code as `python -c` does."""
    sys.argv = ["-c", *words]
    exec(source, {"__name__": "__main__"})


def _begin(settings: tuple[dict[str, str], Path, Path, Path], work: Callable[..., object], given: tuple) -> None:
    environment, folder, out, errors = settings
    os.chdir(folder)
    for path, descriptor in ((out, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), descriptor)
    # What these are, files, pipes or terminals, is seen as they are opened.
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    # A shell that starts the tests in the background has it ignored, and children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _in_environment(environment, work, given)
    finally:
        # As an interpreter ends; `multiprocessing` leaves the second out.
        threading._shutdown()
        with contextlib.suppress(Exception):
            atexit._run_exitfuncs()


def _in_environment(environment: dict[str, str], work: Callable[..., object], given: tuple) -> None:
    os.environ.clear()
    os.environ.update(environment)
    # What was imported before stays, and would be copied as it is looked through for garbage.
    gc.freeze()
    work(*given)
