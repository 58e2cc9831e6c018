"""Ctrl-C and SIGTERM: the step that runs is finished, and what was reached is saved."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Takes note of Ctrl-C and SIGTERM while entered.

    Where they are `deferred`, the first of them is only noted, for whoever runs the steps to look at; anywhere else,
    and the second time, it raises KeyboardInterrupt at once. Outside the main thread, where Python delivers no
    signals, this does nothing.

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

    def __init__(self) -> None:
        self.number: int | None = None
        self.insisted = False
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

    @property
    def exit_code(self) -> int:
        """What a process that was stopped so ends with: 128 and the signal's number."""
        return 128 + (signal.SIGINT if self.number is None else self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        again, self.number = self.number is not None, number
        self.insisted = again and self._deferring
        if again or not self._deferring:
            raise KeyboardInterrupt
