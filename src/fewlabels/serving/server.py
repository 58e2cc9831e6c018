"""The page on a port of this machine, until it is stopped."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from fewlabels.serving.limits import Guard
from fewlabels.serving.uploads import UploadFolder
from fewlabels.storage.errors import InputError

if TYPE_CHECKING:
    from fewlabels.serving.service import Service

_LOCAL = {"127.0.0.1", "localhost", "::1"}
# Of glibc's mallopt: how many heaps there may be.
_HEAPS = -8
_INSTALL = "the page needs Gradio; install it with: pip install 'fewlabels[serve]'"


def is_local(host: str) -> bool:
    """Say whether only this machine reaches a host.

    Examples
    --------
    >>> is_local("127.0.0.1"), is_local("0.0.0.0")
    (True, False)
    """
    return host in _LOCAL


def require_gradio() -> None:
    """Make sure that Gradio is there.

    Raises
    ------
    InputError
        If it is not, with the way to install it.
    """
    # What it would tell its makers, it is not asked to.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # Of each event it keeps times for a page of statistics, which is shut here.
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "100"
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise InputError(f"{_INSTALL} ({error})") from error


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to a host and port.

    Parameters
    ----------
    host : str
        A name or an address of this machine.
    port : int
        0: any that is free.

    Raises
    ------
    InputError
        If the port is in use, or the host is not this machine's.

    Examples
    --------
    >>> with listening("127.0.0.1", 0) as bound:
    ...     bound.getsockname()[1] > 0
    True
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise InputError(f"there is no host {host!r}; give --host 127.0.0.1, or an address of this machine") from error
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        # Bound and not listened on, two servers could share it.
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise InputError(
            f"port {port} of {host} cannot be had ({error.strerror}); give another with --port, or 0 for any"
        ) from error
    return bound


def serve(
    service: Service, *, host: str = "127.0.0.1", port: int = 7860, ready: Callable[[str], None] | None = None
) -> None:
    """Serve a page until Ctrl-C or SIGTERM.

    Parameters
    ----------
    service : Service
        What answers.
    host : str
        Which of the machine's addresses to listen on.
    port : int
        0: any that is free.
    ready : callable, optional
        Is called with the page's address once it can be opened.

    Raises
    ------
    InputError
        If Gradio is missing, or host and port cannot be had.
    """
    require_gradio()
    _share_memory()
    with listening(host, port) as bound, UploadFolder() as uploads, contextlib.closing(service):
        os.environ["GRADIO_TEMP_DIR"] = str(uploads.path)
        import uvicorn
        from fastapi import FastAPI

        from fewlabels.serving.page import build_page, mount

        port = bound.getsockname()[1]
        plain = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        application = mount(build_page(service), plain, host, port, service.limits)
        guard = Guard(application, service.limits, _LOCAL | {host} if is_local(host) else None, uploads.trim)
        config = uvicorn.Config(guard, log_level="critical", access_log=False, timeout_graceful_shutdown=1)
        server = _quiet_server(uvicorn.Server)(config)
        service.begin()
        if ready is not None:
            named = "127.0.0.1" if host in ("0.0.0.0", "::") else host
            ready(f"http://{f'[{named}]' if ':' in named else named}:{port}")
        server.run(sockets=[bound])


def open_browser(address: str) -> None:
    """Open a page in the person's browser, where there is one, without waiting for it."""
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def _share_memory() -> None:
    """Have threads share two heaps: with one each, forty of them hold memory that none of them uses."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL(None).mallopt(_HEAPS, 2)


def _quiet_server(base: Any) -> Any:
    """Return a server that ends by Ctrl-C and SIGTERM as by a request, without raising them again."""

    class Server(base):  # type: ignore[misc]
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            if threading.current_thread() is not threading.main_thread():
                yield
                return

            def stop(number: int, frame: FrameType | None) -> None:
                self.handle_exit(number, frame)

            before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    return Server
