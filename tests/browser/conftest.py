"""A real browser that complains: a console error, a refused script or style, a request to a stranger fail the test.

It opens pages; what is looked at stands in the tests. Chromium is the system's or Playwright's own.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

playwright_api = pytest.importorskip("playwright.sync_api", reason="the extra [test] brings playwright; it is missing")
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright  # noqa: E402 - skips first

from upscale_server.web.page import POLICY  # noqa: E402 - as above

_PATIENCE = 30_000
"""Milliseconds that anything may take on a busy machine; a limit and no expectation."""
expect.set_options(timeout=_PATIENCE)

_BARE = """<!doctype html><html lang="en"><title>One component</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="/static/icon.svg"><link rel="stylesheet" href="/static/app.css">
<main class="page"></main></html>"""
_NO_SANDBOX = ["--no-sandbox"]
"""Chromium refuses to run as root with its sandbox; what it opens here is ours."""


def answered(*statuses: int) -> list[str]:
    """Return what the console says of answers with these statuses, as patterns for `Visits.allowed`."""
    said = r"console: Failed to load resource: the server responded with a status of"
    return [rf"{said} {status} \([^)]*\)" for status in statuses]


def cut_off(error: str) -> list[str]:
    """Return what the console says of a connection that ended with this error of the browser's, as `answered`."""
    return [rf"console: Failed to load resource: net::{error}"]


@dataclass(slots=True)
class Visits:
    """Pages of one test and what was wrong with them; `allowed` are patterns of whole complaints that it provokes."""

    browser: Browser
    complaints: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    contexts: list[BrowserContext] = field(default_factory=list)

    def open(self, url: str, **options: Any) -> Page:  # noqa: ANN401 - a browser context's own
        """Open an address in a new profile of its own, such as a phone's with `viewport` and `has_touch`."""
        self.hosts.add(urlsplit(url).netloc)
        context = self.browser.new_context(**options)
        context.set_default_timeout(_PATIENCE)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: self._complain(f"console: {said.text}") if said.type == "error" else None)
        page.on("pageerror", lambda error: self._complain(f"error: {error}"))
        page.on("request", lambda request: self._look_at(request.url))
        page.goto(url)
        return page

    def open_bare(self, url: str, **options: Any) -> Page:  # noqa: ANN401 - as above
        """Open an empty page at a server's address, under its pages' policy: for one component by itself."""
        page = self.open("about:blank", **options)
        self.hosts.add(urlsplit(url).netloc)
        headers = {"Content-Security-Policy": POLICY, "Content-Type": "text/html; charset=utf-8"}
        page.route("**/bare", lambda route: route.fulfill(body=_BARE, headers=headers))
        page.goto(f"{url}/bare")
        return page

    def close(self) -> list[str]:
        """Close all pages and return the complaints that nobody provoked."""
        for context in self.contexts:
            context.close()
        return [one for one in self.complaints if not any(re.fullmatch(pattern, one) for pattern in self.allowed)]

    def _complain(self, text: str) -> None:
        self.complaints.append(text)

    def _look_at(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("blob", "data", "about") and parts.netloc not in self.hosts:
            self._complain(f"request to a stranger: {url}")


_SERVERS = {"server", "locked"}
"""Fixtures that start what pages ask."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give one browser for a file's tests; not for the whole run, because no other test could use asyncio meanwhile."""
    installed = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=installed, args=_NO_SANDBOX)
        except playwright_api.Error as err:
            pytest.skip(f"no Chromium to look with: {str(err).splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture
def visits(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visits]:
    """Give the pages of one test; the test fails where one of them complained."""
    for name in _SERVERS & set(request.fixturenames):
        request.getfixturevalue(name)  # what is there first ends last: no page is to ask a server that has ended
    opened = Visits(browser)
    yield opened
    assert [] == opened.close()
