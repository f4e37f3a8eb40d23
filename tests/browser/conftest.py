"""A real browser: Debian's Chromium, driven by playwright. Nothing is downloaded; without it the tests are skipped."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SLOW = 120  # seconds that a loaded machine may take to start a server


@pytest.fixture(scope="session")
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


class Server:
    """`weitiao label` in a process of its own, on a port that stays the same."""

    def __init__(self, folder: Path, *words: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.words = folder, words
        self.process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        command = [sys.executable, "-m", "weitiao", "label", "pool.csv", *self.words, "--port", str(self.port)]
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True)  # fmt: skip
        for line in self.process.stdout or ():
            if line.startswith("open "):
                return
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url, timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            return False


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
