"""`weitiao label` in a process of its own, for tests that kill it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit


class Server:
    """`weitiao label` in a process of its own, on a port that stays the same."""

    def __init__(self, folder: Path, *words: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.words = folder, words
        self.process: subprocess.Popen[str] | None = None
        self.query = ""  # of the address that it printed: its token, where it asks for one

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        command = [sys.executable, "-m", "weitiao", "label", "pool.csv", *self.words, "--port", str(self.port)]
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True)  # fmt: skip
        for line in self.process.stdout or ():
            if line.startswith("open "):
                self.query = urlsplit(line.split()[1]).query
                return
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
