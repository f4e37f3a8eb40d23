"""A real browser: Debian's Chromium, driven by playwright. Nothing is downloaded; without it the tests are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.labelling_page import write
from tests.label_server import Server

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")  # while it is there, an event loop runs in this process
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    if CHROMIUM is None:
        pytest.skip("needs a chromium binary: apt-get install chromium")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture
def sit_down(browser: Any) -> Iterator[Callable[[str], Any]]:
    """Open a page as one more person: each has a storage of their own. Errors of the page's script fail the test."""
    contexts, errors = [], []

    def opened(url: str, **options: Any) -> Any:
        context = browser.new_context(**options)
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def serving() -> Iterator[Callable[..., Server]]:
    begun: list[Server] = []

    def start(folder: Path, *words: str) -> Server:
        server = Server(folder, *words)
        begun.append(server)
        server.start()
        return server

    yield start
    for server in begun:
        if server.process is not None and server.process.poll() is None:
            server.kill()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pool and a recipe whose model is not there."""
    return write(tmp_path)
