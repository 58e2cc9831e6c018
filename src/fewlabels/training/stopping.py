"""Ctrl-C and SIGTERM: the step that runs is finished, and what was reached is saved."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds within which a launcher, on a busy machine too, sends on what it is sent.
_FORWARDING = 5.0


class StopSignals:
    """Takes note of Ctrl-C and SIGTERM while entered.

    Where they are `deferred`, the first of them is only noted, for whoever runs the steps to look at; anywhere else,
    and the second time, it raises KeyboardInterrupt at once. Outside the main thread, where Python delivers no
    signals, this does nothing.

    Parameters
    ----------
    forwarded : bool
        Whether there is a launcher, which sends on what a system may have sent to each of its processes too. Where the
        first signal is noted, SIGTERM, and any signal in the seconds after it, are that one again then; Ctrl-C later
        is the second one.

    Attributes
    ----------
    number : int or None
        The signal that came.
    insisted : bool
        Whether it came again where the first one had to wait.

    Examples
    --------
    >>> with StopSignals() as stop, stop.deferred():
    ...     signal.raise_signal(signal.SIGTERM)
    ...     print(stop.number == signal.SIGTERM)
    True
    """

    def __init__(self, *, forwarded: bool = False) -> None:
        self.number: int | None = None
        self.insisted = False
        self._forwarded, self._came = forwarded, 0.0
        self._deferring = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # type: ignore[arg-type]
        self._before = {}

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Let what is done here come to its end."""
        before, self._deferring = self._deferring, True
        try:
            yield
        finally:
            self._deferring = before

    def take(self, number: int) -> None:
        """Take note of a signal, which may have come to another process."""
        self.number, self._came = number, time.monotonic()

    @property
    def exit_code(self) -> int:
        """What a process that was stopped so ends with: 128 and the signal's number."""
        return 128 + (signal.SIGINT if self.number is None else self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        again = self.number is not None
        the_same = number == signal.SIGTERM or time.monotonic() - self._came < _FORWARDING
        if again and self._deferring and self._forwarded and the_same:
            return
        self.take(number)
        self.insisted = again and self._deferring
        if again or not self._deferring:
            raise KeyboardInterrupt
