"""Checkpoints: a training on disk, to be continued bit for bit as if it had never been stopped.

A method is plain code that trains in stages, one after the other. A training that is continued runs this code again
from its beginning: stages that were finished return at once with the weights that they had ended with, the one that
was interrupted goes on in its midst, and what lies between stages is computed again, with the same seeds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from fewlabels import __version__
from fewlabels.storage.atomic import located, remove_leftovers, write_bytes, write_json
from fewlabels.storage.errors import InputError, Interrupted, TrainingWarning, tell_kept
from fewlabels.storage.lock import FolderLock
from fewlabels.storage.plain import python_number
from fewlabels.training.processes import LostProcess
from fewlabels.training.recovery import Diverged
from fewlabels.training.snapshot import Snapshot, capture, restore
from fewlabels.training.stopping import StopSignals

FORMAT_VERSION = 3
EVERY = 60.0
_TRAINING = "training.json"
# What is described by hashes, which tell a person nothing, and what is said of them where they differ.
_LABELED = "it was begun with other labeled images or other labels"
_HASHED = {"labeled": _LABELED, "held_out": _LABELED, "pool": "pool is another one, or is read in another order"}
_KEPT = 2
# Where a disk is slow, checkpoints come less often: so many times as long goes by as one takes.
_PATIENCE = 50


class GlobalRandom:
    """PyTorch's own generators, which dropout and new layers draw from.

    Parameters
    ----------
    device : torch.device
        What is computed on; its generator is kept beside the CPU's.
    """

    moves = ("host", "on_device")

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @property
    def host(self) -> Tensor:
        """State of the CPU's generator."""
        return torch.get_rng_state()

    @host.setter
    def host(self, state: Tensor) -> None:
        torch.set_rng_state(state.cpu())

    @property
    def on_device(self) -> Tensor | None:
        """State of the GPU's generator, None on the CPU."""
        return torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None

    @on_device.setter
    def on_device(self, state: Tensor | None) -> None:
        if state is not None and self._device.type == "cuda":
            torch.cuda.set_rng_state(state.cpu(), self._device)


class Checkpoints:
    """A folder that a training is saved in as it goes, and continued from.

    Every finished stage is a file; of the stage that runs, the newest two checkpoints are kept. A file is written
    whole or not at all, and carries a checksum: one that does not match is passed over for the one before, with a
    warning.

    Parameters
    ----------
    folder : str or Path
        Of this training alone; it is made and held until `close`.
    every : float
        Seconds between checkpoints, at least 0; 0: after every step.

    Attributes
    ----------
    training : dict or None
        What the folder's training was described as, None in a new folder.
    asked : int
        How many measurements the training has asked for so far, see `decided`.

    Raises
    ------
    InputError
        If the folder holds other files, or another process works in it.
    OSError
        If a file cannot be read: what it holds may be whole.
    """

    def __init__(self, folder: str | Path, *, every: float = EVERY) -> None:
        if not str(folder):
            raise InputError("checkpoint='' names no folder; give the name of one, or None for no checkpoints")
        self.folder = Path(folder)
        every = python_number(every)
        if not (isinstance(every, int | float) and every >= 0):
            raise InputError(f"checkpoint_every={every!r} is not a number of seconds of at least 0")
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder} is a file; give the name of a folder for checkpoints")
        if self.folder.is_dir() and any(_foreign(path) for path in self.folder.iterdir()):
            raise InputError(f"{self.folder} holds other files and no checkpoint; give a new or empty folder")
        self.signals = StopSignals()
        self._lock = FolderLock(self.folder)
        self._every = every
        self._due = time.perf_counter() + every
        self._number = 0
        self._waiting: list[tuple[Path, dict[str, Any], Snapshot]] = []
        try:
            remove_leftovers(self.folder)
            self.training = self._read_training()
            self._newest, self._damaged = self._newest_middle()
            self._decisions: list[float] = self._recorded_decisions()
        except BaseException:
            self.close()
            raise
        self.asked = 0
        self._described = self.training is not None

    @property
    def is_new(self) -> bool:
        """Whether there is nothing to continue."""
        return not any(next(self.folder.glob(kind), None) for kind in ("at-*.safetensors", "stage-*.safetensors"))

    def describe(self, training: dict[str, Any], conditions: dict[str, Any]) -> None:
        """Say what is trained; a folder that holds another training is refused.

        Parameters
        ----------
        training : dict
            Names and values as JSON has them: settings, data, seed.
        conditions : dict
            What the last bits depend on; where it differs, a warning says so.
        """
        described = {"format_version": FORMAT_VERSION, "fewlabels": __version__, **training}
        if self.training is not None:
            for name, value in described.items():
                before = self.training.get(name)
                if before != value:
                    raise InputError(
                        f"{self.folder} is the checkpoint of another training: {_difference(name, before, value)}; "
                        "give another folder (on the command line: --out), or delete it to begin anew"
                    )
            if (before := self.training.get("conditions")) != conditions:
                warnings.warn(
                    f"{self.folder} was begun under other conditions, "
                    f"{_difference('conditions', before, conditions)}: the result may differ in its last bits from "
                    "that of a training never stopped",
                    TrainingWarning,
                    stacklevel=4,
                )
        self.training = described | {"conditions": conditions}

    def decided(self, compute: Callable[[], float]) -> float:
        """Return what a measurement came to, the same number again when the training is continued."""
        if self.asked == len(self._decisions):
            self._decisions.append(compute())
        self.asked += 1
        return self._decisions[self.asked - 1]

    def next_stage(self, name: str, run: dict[str, Any], device: torch.device) -> Stage:
        """Return the stage that comes next in the method's code.

        Parameters
        ----------
        name : str
            As people read it.
        run : dict
            All that moves in the run beside what the stage itself moves.
        device : torch.device
            Where tensors lie.
        """
        self._number += 1
        return Stage(self, self._number, name, run, device)

    @contextlib.contextmanager
    def stoppable(self) -> Iterator[None]:
        """Turn a stop by Ctrl-C or SIGTERM into `Interrupted`, with what was reached on the disk.

        Of an error that may not come again, as of a pool that cannot be reached, a note says that it is kept.
        """
        with self.signals:
            try:
                yield
            except KeyboardInterrupt as stop:
                # Between stages: what they left is known, what follows is computed again. In the midst of one, where it
                # takes a second signal to stop at once, the last checkpoint is what there is.
                in_a_step = self.signals.insisted
                with self.signals.deferred():
                    saved = self.flush() and not in_a_step
                where = "at once" if in_a_step else "between two stages"
                raise self.interrupted(f"stopped {where}", saved=saved) from stop
            except (InputError, OSError) as error:
                # Before the first stage it may be that of another training; and a process that has lost another says
                # how to go on itself.
                if self._number and not self.is_new and not isinstance(error, Diverged | LostProcess):
                    tell_kept(error, f"the last checkpoint is kept in {self.folder}", self.folder)
                raise
            finally:
                self.close()

    def interrupted(self, what: str, *, saved: bool) -> Interrupted:
        """Return the error that says what was reached and how to go on."""
        code = self.signals.exit_code
        if self.is_new:
            return Interrupted(f"{what}; nothing was saved yet", code=code)
        kept = "what was reached is saved" if saved else "the last checkpoint is kept"
        return Interrupted(f"{what}; {kept} in {self.folder}", code=code, folder=self.folder)

    def is_due(self) -> bool:
        """Say whether it is time for the next checkpoint."""
        return time.perf_counter() >= self._due

    def wanted(self) -> tuple[bool, bool]:
        """Say whether the training is to stop, and whether a checkpoint is to be written."""
        stop = self.signals.number is not None
        return stop, stop or self.is_due()

    def write(self, path: Path, header: dict[str, Any], snapshot: Snapshot) -> bool:
        """Write what waits and a checkpoint, and say whether that went well; a full disk does not end a training."""
        return self._write([(path, header, snapshot)])

    def _write(self, more: list[tuple[Path, dict[str, Any], Snapshot]], *, goes_on: bool = True) -> bool:
        began = time.perf_counter()
        try:
            if not self._described and self.training is not None:
                write_json(self.folder / _TRAINING, self.training)
                self._described = True
            # A stage waits until it is on the disk: those after it are of no use without it.
            while self._waiting:
                self._write_one(*self._waiting[0])
                del self._waiting[0]
            for one in more:
                self._write_one(*one)
        except OSError as error:
            if self.is_new:
                # By itself it would keep a training from beginning anew.
                with contextlib.suppress(OSError):
                    (self.folder / _TRAINING).unlink()
                    self._described = False
            ends = "training goes on, and " if goes_on and self.signals.number is None else ""
            kept = "none is kept" if self.is_new else "the last good checkpoint is kept"
            warnings.warn(
                f"no checkpoint could be written: {error.strerror or error}: {error.filename or self.folder}; "
                f"{ends}{kept}",
                TrainingWarning,
                stacklevel=4,
            )
            return False
        finally:
            took = time.perf_counter() - began
            self._due = time.perf_counter() + max(self._every, min(_PATIENCE * took, 10 * self._every))
        # Where their steps are later ones, they would outlive what is written now.
        for damaged in self._damaged:
            if damaged not in [path for path, *_ in more]:
                damaged.unlink(missing_ok=True)
        self._damaged = []
        for old in sorted(self.folder.glob("at-*.safetensors"))[:-_KEPT]:
            old.unlink(missing_ok=True)
        return True

    def keep(self, number: int, header: dict[str, Any], snapshot: Snapshot) -> None:
        """Take what a stage has ended with; it is written with the next checkpoint, or at once when one is due."""
        self._waiting.append((self._stage_file(number), header, snapshot))
        if self.is_due():
            self.flush()

    def flush(self) -> bool:
        """Write the finished stages that are not on the disk yet, and say whether that went well."""
        return not self._waiting or self._write([])

    def complete(self) -> None:
        """Write the finished stages; checkpoints in the midst of one are of no use any more."""
        # Of a training without stages, the seed that was drawn: it comes out the same again.
        if self._write([], goes_on=False):
            for old in self.folder.glob("at-*.safetensors"):
                old.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the folder; one that nothing was written to is taken away."""
        self._lock.release()
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def finished(self, number: int) -> tuple[dict[str, Any], Snapshot] | None:
        """Return what a stage has ended with, None if it has not or its file is damaged."""
        path = self._stage_file(number)
        found = _read(path) if path.exists() else None
        if found is None:
            if path.exists():
                warnings.warn(
                    f"{path} is damaged; its stage is trained again, and what comes after it",
                    TrainingWarning,
                    stacklevel=4,
                )
            # What came after it is of no use either: it is made again, and comes out the same.
            for later in self.folder.glob("stage-*.safetensors"):
                if later >= path:
                    later.unlink()
            # They would outlive those of this stage, of which only the last few in the order of names are kept.
            for later in self.folder.glob("at-*.safetensors"):
                if later.name > f"at-{number + 1:03}":
                    later.unlink()
        return found

    def middle(self, number: int) -> tuple[dict[str, Any], Snapshot] | None:
        """Return the newest checkpoint in the midst of a stage, None if there is none."""
        found, self._newest = self._newest, None
        found = found if found is not None and found[0]["stage"] == number else None
        # Those of stages that are finished are not missed.
        if missed := [str(path) for path in self._damaged if path.name > f"at-{number:03}"]:
            where = "this stage begins anew" if found is None else f"training goes on after step {found[0]['step']}"
            warnings.warn(f"passed over as damaged: {', '.join(missed)}; {where}", TrainingWarning, stacklevel=4)
        return found

    def _write_one(self, path: Path, header: dict[str, Any], snapshot: Snapshot) -> None:
        text = json.dumps(
            {"format_version": FORMAT_VERSION, "decisions": self._decisions, **header}, default=python_number
        )
        tensors = {name: value.cpu().contiguous() for name, value in snapshot.tensors.items()}
        metadata = {"header": text, "tree": snapshot.text()}
        write_bytes(path, save(tensors, metadata | {"sha256": _checksum(metadata, tensors)}))

    def _stage_file(self, number: int) -> Path:
        return self.folder / f"stage-{number:03}.safetensors"

    def _newest_middle(self) -> tuple[tuple[dict[str, Any], Snapshot] | None, list[Path]]:
        """Return the newest checkpoint that is whole, and the later ones, which are damaged."""
        damaged: list[Path] = []
        for path in sorted(self.folder.glob("at-*.safetensors"), reverse=True):
            if (found := _read(path)) is not None:
                return found, damaged
            damaged.append(path)
        return None, damaged

    def _recorded_decisions(self) -> list[float]:
        found = [self._newest] + [_read(path) for path in self.folder.glob("stage-*.safetensors")]
        lists = [entry[0]["decisions"] for entry in found if entry is not None]
        return list(max(lists, key=len, default=[]))

    def _read_training(self) -> dict[str, Any] | None:
        path = self.folder / _TRAINING
        try:
            training = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise InputError(f"{path} is damaged; delete {self.folder} to begin anew") from error
        told = training if isinstance(training, dict) else {}
        version, wrote = told.get("format_version"), told.get("fewlabels")
        if (version, wrote) != (FORMAT_VERSION, __version__):
            raise InputError(
                f"{self.folder} was written by another version of fewlabels ({wrote or 'unknown'}, checkpoint format "
                f"{version}; this one is {__version__}, with {FORMAT_VERSION}); finish it with that version, or delete "
                "it to begin anew"
            )
        return training  # type: ignore[no-any-return]


class Stage:
    """One training of a run, as `Checkpoints.next_stage` makes it.

    Parameters
    ----------
    checkpoints : Checkpoints
        Where it is saved.
    number : int
        Place among the run's trainings, from 1.
    name, run, device
        See `Checkpoints.next_stage`.
    """

    def __init__(
        self, checkpoints: Checkpoints, number: int, name: str, run: dict[str, Any], device: torch.device
    ) -> None:
        self._checkpoints, self.number, self.name = checkpoints, number, name
        self._run, self._device = run, device
        self._steps = 0

    @property
    def signals(self) -> StopSignals:
        """Says whether to stop."""
        return self._checkpoints.signals

    def replay(self, nets: nn.Module) -> int | None:
        """Give nets and run what this stage has ended with, and return its steps; None if it has not ended yet."""
        found = self._checkpoints.finished(self.number)
        if found is None:
            return None
        restore({"run": self._run, "nets": nets}, found[1], self._device)
        nets.eval()
        # What it asked for is not asked for again, and not for the next stage to take.
        self._checkpoints.asked = int(found[0]["asked"])
        return int(found[0]["steps"])

    def resume(self, moving: dict[str, Any], steps: int) -> int:
        """Put the newest checkpoint of this stage back and return the step it was taken after, 0 without one.

        Parameters
        ----------
        moving : dict
            All that the training loop moves.
        steps : int
            Length of the stage.
        """
        self._steps = steps
        found = self._checkpoints.middle(self.number)
        if found is None:
            return 0
        restore({"run": self._run, **moving}, found[1], self._device)
        return int(found[0]["step"])

    def after_step(self, done: int, moving: dict[str, Any]) -> None:
        """Save if that is due, or if the training is to stop, which raises `Interrupted`."""
        if done == self._steps:
            return
        stopped, due = self._checkpoints.wanted()
        if not due:
            return
        path = self._checkpoints.folder / f"at-{self.number:03}-{done:09}.safetensors"
        header = {"stage": self.number, "step": done, "steps": self._steps}
        saved = self._checkpoints.write(path, header, capture({"run": self._run, **moving}))
        if stopped:
            raise self._checkpoints.interrupted(
                f"stopped after step {done} of {self._steps} of {self.name}", saved=saved
            )

    def finish(self, nets: nn.Module) -> None:
        """Keep what nets and run are now; stops here if that was asked for."""
        header = {"stage": self.number, "steps": self._steps, "asked": self._checkpoints.asked}
        self._checkpoints.keep(self.number, header, capture({"run": self._run, "nets": nets}))
        if self._checkpoints.wanted()[0]:
            saved = self._checkpoints.flush()
            raise self._checkpoints.interrupted(f"stopped at the end of {self.name}", saved=saved)


def holds_training(folder: Path) -> bool:
    """Say whether a folder holds a training that can be continued.

    Examples
    --------
    >>> holds_training(Path("no/such/folder"))
    False
    """
    return (folder / _TRAINING).exists()


def holds_finished(folder: Path) -> bool:
    """Say whether a folder holds a training that has come to its end; what is of its midst has been taken away then.

    Examples
    --------
    >>> holds_finished(Path("no/such/folder"))
    False
    """
    return holds_training(folder) and not any(folder.glob("at-*.safetensors"))


def checkpoint_beside(model: Path, *, resume: bool) -> Path:
    """Return the folder for the checkpoints of a model that is to be saved in a folder: beside it, `NAME.checkpoint`.

    Raises
    ------
    InputError
        If it holds a training that was not finished, and that is not to be continued: it would be lost; or one that
        runs.
    """
    folder = model.with_name(model.name + ".checkpoint")
    if folder.is_dir():
        # Of a training that runs nothing is to be deleted.
        FolderLock(folder).release()
    if not resume and holds_training(folder):
        raise InputError(
            f"{folder} holds a training of this model that was stopped; go on with --resume, or delete it to begin anew"
        )
    return folder


def _read(path: Path) -> tuple[dict[str, Any], Snapshot] | None:
    """Return header and state of a file, None if it is damaged; one that cannot be read may be whole, and raises."""
    # Safetensors says of one that is refused that it is not there, and where a disk fails under its mapped memory, the
    # process ends.
    try:
        with path.open("rb") as plain:
            while plain.read(1 << 20):
                pass
    except OSError as error:
        raise located(error, path) from error
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.pop("sha256") != _checksum(metadata, tensors):
            return None
        return json.loads(metadata["header"]), Snapshot(json.loads(metadata["tree"]), tensors)
    except (SafetensorError, ValueError, KeyError):
        return None


def _checksum(metadata: dict[str, str], tensors: dict[str, Tensor]) -> str:
    found = hashlib.sha256((metadata["header"] + metadata["tree"]).encode())
    for name in sorted(tensors):
        found.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        flat = tensors[name].reshape(-1)
        found.update(torch.empty(len(flat), dtype=flat.dtype).copy_(flat).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _foreign(path: Path) -> bool:
    return not (path.name.startswith((".", "at-", "stage-")) or path.name == _TRAINING)


def _difference(name: str, before: Any, now: Any) -> str:
    if name in _HASHED:
        return _HASHED[name]
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        return ", ".join(f"{key} is {before.get(key)!r} there and {now.get(key)!r} here" for key in keys[:3])
    return f"{name} is {before!r} there and {now!r} here"
