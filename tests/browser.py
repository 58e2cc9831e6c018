"""A real browser for pages: Debian's chromium, driven by Playwright; tests that ask for it are skipped without."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = ["--headless", "--no-sandbox", "--disable-background-networking"]


@dataclass
class Tab:
    """A page of the browser, and what went on in it.

    `page` is Playwright's. `requests` are the addresses that the page asked for, `errors` what its console
    complained about and what its scripts threw.
    """

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def violations(self) -> list[str]:
        """Return what axe-core finds wrong for people who use a keyboard, a screen reader or have low vision."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [f"{one['id']}: {node['html'][:200]} {node['failureSummary']}" for one in found for node in one["nodes"]]


# Not one for all tests: while Playwright runs, no other event loop can run in its thread.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A running browser."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        pytest.skip("no chromium is installed (on Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def new_tab(chromium: Any) -> Iterator[Any]:
    """Return a function that opens a tab; it takes options of Playwright's `new_context`, such as `viewport`."""
    contexts = []

    def new(**options: Any) -> Tab:
        context = chromium.new_context(**options)
        contexts.append(context)
        tab = Tab(context.new_page())
        tab.page.on("request", lambda request: tab.requests.append(request.url))
        tab.page.on("console", lambda said: tab.errors.append(said.text) if said.type in ("error", "warning") else None)
        tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
        return tab

    yield new
    for context in contexts:
        context.close()
