import asyncio
import json

import pytest

from fewlabels.serving.limits import Guard, Limits

HERE = {"127.0.0.1", "localhost"}
JOIN, UPLOAD = "/gradio_api/queue/join", "/gradio_api/upload"


def ask(guard, path="/", *, method="GET", headers=None, chunks=(b"",)):
    """Return status, headers and text of the answer to one request."""
    sent, waiting = [], list(chunks)

    async def receive():
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in {"host": "127.0.0.1:7860", **(headers or {})}.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": pairs}
    asyncio.run(guard(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], dict(sent[0]["headers"]), body.decode()


async def echo(scope, receive, send):
    """An application that reads all of a request before it answers."""
    more, size = True, 0
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-content-type-options", b"other")]})
    await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.fixture
def guard():
    return Guard(echo, Limits(upload_bytes=1000, request_bytes=100), HERE)


def test_the_page_is_let_in_with_headers_that_keep_it_on_this_machine(guard):
    status, headers, _ = ask(guard)
    assert status == 200
    assert b"connect-src 'self'" in headers[b"content-security-policy"]
    assert headers[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:7860", "", "[", "[::1"])
def test_another_name_for_this_machine_is_refused(guard, host):
    assert ask(guard, headers={"host": host})[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860"])
def test_its_own_names_are_let_in(guard, host):
    assert ask(guard, headers={"host": host})[0] == 200


def test_any_name_is_let_in_where_everybody_may():
    assert ask(Guard(echo), headers={"host": "office.example:80"})[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
def test_other_sites_cannot_use_the_page(guard, origin):
    assert ask(guard, JOIN, method="POST", headers={"origin": origin})[0] == 403


def test_the_page_can_use_itself(guard):
    assert ask(guard, JOIN, method="POST", headers={"origin": "http://127.0.0.1:7860"})[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/proxy=http://evil.example",
        "/gradio_api/file=https://evil.example/large",
        "/gradio_api/vibe-edit",
        "/monitoring",
        "/docs",
        "/login",
    ],
)
def test_what_the_page_does_not_need_is_not_there(guard, path):
    assert ask(guard, path)[0] == 404


def test_an_upload_that_says_it_is_too_large_is_not_passed_on(guard):
    async def application(scope, receive, send):
        raise AssertionError("it was passed on")

    guard.application = application
    status, _, text = ask(guard, UPLOAD, method="POST", headers={"content-length": "1000000"})
    assert status == 413
    assert "larger than 0 MiB" in json.loads(text)["detail"]


@pytest.mark.parametrize("length", ["-1", "1e9", "many"])
def test_a_length_that_is_none_is_refused(guard, length):
    assert ask(guard, UPLOAD, method="POST", headers={"content-length": length})[0] == 413


def test_an_upload_that_is_larger_than_it_says_ends_at_the_limit(guard):
    read = []

    async def application(scope, receive, send):
        while True:
            read.append(len((await receive())["body"]))

    guard.application = application
    status, *_ = ask(guard, UPLOAD, method="POST", headers={"content-length": "5"}, chunks=[b"a" * 20_000] * 50)
    assert status == 413
    assert sum(read) <= 1000 + (1 << 16)
    assert guard.refused == {413: 1}


def test_an_application_that_answers_its_broken_reading_is_not_heard(guard):
    async def application(scope, receive, send):
        try:
            while True:
                await receive()
        except Exception:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"Internal Server Error"})
            raise

    guard.application = application
    assert ask(guard, UPLOAD, method="POST", chunks=[b"a" * 20_000] * 50)[0] == 413


def test_other_requests_are_smaller_still(guard):
    assert ask(guard, JOIN, method="POST", chunks=[b"a" * 101])[0] == 413
    assert ask(guard, JOIN, method="POST", chunks=[b"a" * 100])[::2] == (200, "100")


def test_a_full_queue_says_that_it_is_busy(guard):
    async def full(scope, receive, send):
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b"Queue is full"})

    guard.application = full
    status, headers, text = ask(guard, JOIN, method="POST")
    assert (status, headers[b"retry-after"]) == (503, b"1")
    assert json.loads(text)["detail"].startswith("busy: 32 requests are waiting")


def test_more_uploads_than_may_be_on_their_way_are_told_so():
    guard = Guard(echo, Limits(uploads=1))
    done = []
    guard.uploaded = lambda: done.append(True)

    async def two():
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow(scope, receive, send):
            begun.set()
            await go_on.wait()
            await echo(scope, receive, send)

        guard.application = slow
        scope = {"type": "http", "method": "POST", "path": UPLOAD, "headers": [(b"host", b"here")]}
        answers = {"first": [], "second": []}

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def first(message):
            answers["first"].append(message)

        async def second(message):
            answers["second"].append(message)

        running = asyncio.create_task(guard(scope, receive, first))
        await begun.wait()
        await guard(scope, receive, second)
        go_on.set()
        await running
        return answers["first"][0]["status"], answers["second"][0]["status"]

    assert asyncio.run(two()) == (200, 503)
    assert done == [True]
