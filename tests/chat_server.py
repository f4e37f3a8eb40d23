"""An OpenAI-compatible server in a thread, as helpful or as bad as a test wants it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What is sent back: a text, or another status; after `delay` seconds; whole, cut in half, or not at all."""

    text: str | None = "yes"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None  # in place of an answer that can be read
    delay: float = 0.0
    sends: str = "whole"  # half, nothing
    usage: tuple[int, int] | None = (10, 5)
    more: dict[str, Any] = field(default_factory=dict)  # of the choice

    def written(self) -> bytes:
        if self.body is not None:
            return self.body
        if self.status != 200:
            return json.dumps({"error": {"message": self.text}}).encode()
        choice = {"message": {"role": "assistant", "content": self.text}, "finish_reason": "stop", **self.more}
        usage = self.usage and {"prompt_tokens": self.usage[0], "completion_tokens": self.usage[1]}
        return json.dumps({"choices": [choice], "usage": usage}).encode()


Script = Callable[[dict[str, Any], int], Reply]  # the request's body and its number, from 0


@dataclass
class Server:
    """What it was asked, and how many at once at most."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    at_once: int = 0
    busy: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def prompts(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.bodies]


def troubled(answer: Callable[[dict[str, Any]], Reply], delay: float) -> tuple[int, Script]:
    """First some bad replies, one of them late by `delay` seconds, then answers; how many are bad, and the script."""
    bad = [Reply("busy", 429, {"Retry-After": "0.2"}), Reply("broken", 500), Reply(delay=delay), Reply(body=b"<html>"),
           Reply(body=b'{"choices": ['), Reply(sends="half"), Reply(sends="nothing")]  # fmt: skip
    return len(bad), lambda body, number: bad[number] if number < len(bad) else answer(body)


@contextmanager
def serving(script: Script) -> Iterator[Server]:
    """Serve on a free port of this machine."""
    server = Server()

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with server.lock:
                number = len(server.bodies)
                server.bodies.append(body)
                server.headers.append(dict(self.headers.items()))
                server.times.append(time.monotonic())
                server.busy += 1
                server.at_once = max(server.at_once, server.busy)
            try:
                self._send(script(body, number))
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client lost patience
            finally:
                with server.lock:
                    server.busy -= 1

        def _send(self, reply: Reply) -> None:
            time.sleep(reply.delay)
            written = reply.written()
            if reply.sends != "nothing":
                self.send_response(reply.status)
                for name, value in {**reply.headers, "content-length": str(len(written))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(written if reply.sends == "whole" else written[: len(written) // 2])
            if reply.sends != "whole":
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
