"""Energy that a training took, where the platform tells."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

_POWERCAP = Path("/sys/class/powercap")
_MICRO, _MILLI = 1e-6, 1e-3
# A processor's counter begins again after some minutes at full power.
_EVERY = 10.0

Counter = Callable[[], float]


class EnergyMeter:
    """Measures the energy of processors and NVIDIA GPUs while its block runs.

    Processors tell by Linux' powercap files (RAPL, Intel's and AMD's, which may ask for root's rights), GPUs by NVML,
    where the package nvidia-ml-py is installed. Both count for the whole machine: what else runs is in it.

    Parameters
    ----------
    powercap : Path
        Where the kernel has its counters.

    Attributes
    ----------
    joules : float
        What was used so far; NaN where nothing tells, or no longer does.
    sources : tuple of str
        What tells: "processor", "GPU".

    Examples
    --------
    >>> with EnergyMeter(Path("no such folder")) as meter:
    ...     pass
    >>> meter.sources if torch.cuda.is_available() else meter.joules
    nan
    """

    def __init__(self, powercap: Path = _POWERCAP) -> None:
        self._counters: list[tuple[Counter, float]] = [
            (zone, _range_of(folder)) for folder in _zones(powercap) if (zone := _counter_of(folder)) is not None
        ]
        gpus = _gpu_counters()
        self.sources = (("processor",) if self._counters else ()) + (("GPU",) if gpus else ())
        self._counters += [(counter, math.inf) for counter in gpus]
        self.joules = 0.0 if self._counters else math.nan
        self._last: list[float] = []
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._counters:
            self._last = self._read()
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._done.set()
            self._thread.join()
            self._count()

    def _watch(self) -> None:
        while not self._done.wait(_EVERY):
            self._count()

    def _count(self) -> None:
        with self._lock:
            now = self._read()
            for before, after, (_, limit) in zip(self._last, now, self._counters, strict=True):
                self.joules += after - before if after >= before else after - before + limit
            self._last = now

    def _read(self) -> list[float]:
        # A counter that cannot be read any more is no reason to lose a training: what it took is not known then.
        try:
            return [counter() for counter, _ in self._counters]
        except (OSError, ValueError):
            return [math.nan] * len(self._counters)


def _zones(powercap: Path) -> list[Path]:
    """Return the zones of whole processors: `intel-rapl:0`, not its parts, `intel-rapl:0:0`."""
    folders = sorted(powercap.glob("intel-rapl:*")) if powercap.is_dir() else []
    found = []
    for folder in folders:
        with contextlib.suppress(OSError):
            # "psys" is the whole board, which would count its processors twice.
            if folder.name.count(":") == 1 and (folder / "name").read_text().strip().startswith("package"):
                found.append(folder)
    return found


def _counter_of(folder: Path) -> Counter | None:
    path = folder / "energy_uj"

    def read() -> float:
        return int(path.read_text()) * _MICRO

    try:
        read()
    except (OSError, ValueError):
        return None
    return read


def _range_of(folder: Path) -> float:
    try:
        return int((folder / "max_energy_range_uj").read_text()) * _MICRO
    except (OSError, ValueError):
        return 0.0


def _gpu_counters() -> list[Counter]:
    """Return the counters of the GPU that PyTorch uses, where NVML tells."""
    if not torch.cuda.is_available():
        return []
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        # PyTorch may number GPUs otherwise than NVML does.
        name = f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(name)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:
        return []

    def read() -> float:
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) * _MILLI)
        except pynvml.NVMLError as error:
            raise OSError(str(error)) from error

    return [read]
