"""What a server on a person's machine lets in: its own page's requests, of limited size and number."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

# What the page itself asks for. Gradio has more (a proxy, an editor, monitoring), which nothing here needs.
_PATHS = {"/", "/config", "/config/", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt"}
_BELOW = ("/assets/", "/static/", "/svelte/", "/gradio_api/file=", "/gradio_api/heartbeat/")
_CALLS = {
    "/gradio_api/info",
    "/gradio_api/theme.css",
    "/gradio_api/startup-events",
    "/gradio_api/app_id",
    "/gradio_api/app_id/",
    "/gradio_api/queue/join",
    "/gradio_api/queue/data",
    "/gradio_api/upload",
    "/gradio_api/upload_progress",
    "/gradio_api/cancel",
    "/gradio_api/reset",
}
_JOIN, _UPLOAD = "/gradio_api/queue/join", "/gradio_api/upload"
# Beside an uploaded file, its name and what separates the parts.
_MULTIPART = 1 << 16
# Of a request that is refused for its size, so much is read all the same, and so long.
_DRAINED, _DRAINED_SECONDS = 256 << 20, 20.0
_HEADERS = {
    # The page's framework makes its code from strings; all of it is served from here.
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; frame-ancestors 'none'; form-action 'self'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


@dataclass(frozen=True)
class Limits:
    """How much is let in at a time.

    Parameters
    ----------
    upload_bytes : int
        The largest file.
    upload_pixels : int
        Width times height of the largest image.
    waiting : int
        How many requests may wait for their turn; further ones are told that the server is busy.
    uploads : int
        How many files may be on their way at a time.
    request_bytes : int
        The largest request that is no upload.

    Examples
    --------
    >>> Limits().upload_bytes
    20971520
    """

    upload_bytes: int = 20 << 20
    upload_pixels: int = 64_000_000
    waiting: int = 32
    uploads: int = 16
    request_bytes: int = 1 << 18


@dataclass
class Guard:
    """ASGI middleware that turns away what is too large, too much, or not from this server's own page.

    Parameters
    ----------
    application : ASGI application
        Who answers what is let in.
    limits : Limits
        See there.
    hosts : set of str, optional
        Names that a browser may call the server by, so that no other site can lend it a name of its own; any, when
        not given.
    uploaded : callable, optional
        Is called after each upload.

    Attributes
    ----------
    refused : dict of int to int
        How many requests were turned away, by status.
    """

    application: Application
    limits: Limits = field(default_factory=Limits)
    hosts: set[str] | None = None
    uploaded: Callable[[], None] | None = None
    refused: dict[int, int] = field(default_factory=dict)
    _uploads: int = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self.application(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            if refusal[0] == 413:
                await _drained(receive)
            await self._refuse(send, *refusal)
            return
        uploads = scope["path"] == _UPLOAD
        self._uploads += uploads
        try:
            await self._measured(scope, receive, send)
        finally:
            self._uploads -= uploads
            if uploads and self.uploaded is not None:
                self.uploaded()

    def _refusal(self, scope: Message) -> tuple[int, str] | None:
        """Return status and reason, where a request can be turned away by its head."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host, path = headers.get("host", ""), scope["path"]
        if self.hosts is not None and (_split(f"//{host}").hostname or "") not in self.hosts:
            return 403, f"this server is not called {host!r}"
        origin = headers.get("origin")
        if origin is not None and _split(origin).netloc != host:
            return 403, "requests from other sites are not answered"
        # A file's address may be one on the net, which Gradio would fetch.
        if (path not in _PATHS and path not in _CALLS and not path.startswith(_BELOW)) or "://" in path:
            return 404, "there is nothing here"
        if path == _UPLOAD and self._uploads >= self.limits.uploads:
            return 503, _busy(self.limits.uploads, "uploads are on their way")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._largest(path):
            return 413, self._too_large(path)
        return None

    async def _measured(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on; one that says too little of its size ends when it is reached."""
        path, received, begun, over, ended = scope["path"], 0, False, False, False

        async def counted() -> Message:
            nonlocal received, over, ended
            message = await receive()
            ended = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self._largest(path):
                over = True
                raise _TooLargeError
            return message

        async def answered(message: Message) -> None:
            nonlocal begun
            if over and not begun:
                return  # what the application makes of its broken reading is no answer
            if message["type"] == "http.response.start":
                begun = True
                if path == _JOIN and message["status"] == 503:
                    raise _FullError
                message["headers"] = [
                    *(pair for pair in message.get("headers", ()) if pair[0].decode("latin-1").lower() not in _HEADERS),
                    *((name.encode(), value.encode()) for name, value in _HEADERS.items()),
                ]
            await send(message)

        try:
            await self.application(scope, counted, answered)
        except _FullError:
            await self._refuse(send, 503, _busy(self.limits.waiting, "requests are waiting"))
            return
        except Exception:
            if not over:
                raise
        if over and not begun:
            if not ended:
                await _drained(receive)
            await self._refuse(send, 413, self._too_large(path))

    def _largest(self, path: str) -> int:
        return self.limits.upload_bytes + _MULTIPART if path == _UPLOAD else self.limits.request_bytes

    def _too_large(self, path: str) -> str:
        if path != _UPLOAD:
            return "the request is too large"
        return f"the file is larger than {self.limits.upload_bytes >> 20} MiB; give a smaller one"

    async def _refuse(self, send: Send, status: int, reason: str) -> None:
        self.refused[status] = self.refused.get(status, 0) + 1
        body = json.dumps({"detail": reason, "error": reason}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if status == 503:
            headers.append((b"retry-after", b"1"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _drained(receive: Receive) -> None:
    """Read on, and keep nothing: who is still sending hears no answer."""
    drained = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAINED_SECONDS):
            while drained < _DRAINED:
                message = await receive()
                drained += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


class _TooLargeError(Exception):
    """A request's body went over its limit."""


class _FullError(Exception):
    """The queue took no more."""


def _split(address: str) -> SplitResult:
    """Return the parts of an address; of none where it is no address."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _busy(most: int, what: str) -> str:
    return f"busy: {most} {what}; try again in a moment"
