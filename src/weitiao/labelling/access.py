"""Who may talk to the server: this machine's own pages, or whoever has the token; no page of another site.

A page of another site can make a browser send requests to 127.0.0.1. It is told by `Origin` and ``Sec-Fetch-Site``; one
that has its own name point to 127.0.0.1 (DNS rebinding), by `Host`. What changes something also needs a header that no
page of another site can set without asking first.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

OWN_HEADER = "x-weitiao"
LOCAL = ("127.0.0.1", "localhost", "::1")
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",  # an address may hold a token
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Access:
    """What a request must show."""

    host: str  # that the server is bound to
    token: str | None  # None: only this machine's own pages are let in

    @classmethod
    def to(cls, host: str) -> Access:
        """Return what is asked for on an address: a token, where others can reach it."""
        return cls(host, None if is_local(host) else secrets.token_urlsafe(16))

    def refusal(self, method: str, headers: Mapping[str, str], query: str) -> str:
        """Return why a request is refused; "" where it is not."""
        host = headers.get("host", "")
        if self.token is None and _name(host) not in (*LOCAL, self.host.lower()):
            return f"this server answers to {' and '.join(dict.fromkeys((self.host, 'localhost')))} alone"
        origin = headers.get("origin")
        if origin is not None and _parts(origin).netloc.lower() != host.lower():
            return "the request comes from a page of another site"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and (
            method != "GET" or headers.get("sec-fetch-mode") != "navigate"
        ):
            return "the request comes from a page of another site"
        if method not in ("GET", "HEAD") and OWN_HEADER not in headers:
            return f"the header {OWN_HEADER} is missing"
        if self.token is not None:
            given = parse_qs(query).get("token", [""])[0] or headers.get(OWN_HEADER, "")
            if not secrets.compare_digest(given.encode(), self.token.encode()):
                return "the address lacks its token: open the whole one that `weitiao label` printed"
        return ""


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _name(host: str) -> str:
    return (_parts(f"//{host}").hostname or "").lower()


def _parts(address: str) -> SplitResult:
    """The parts of an address; none of what is no address."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


class Guarded:
    """An ASGI application that is behind an `Access`."""

    def __init__(self, app: Any, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with 403."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self.access.refusal(scope["method"], headers, scope.get("query_string", b"").decode("latin-1"))
        if refusal:
            await send({"type": "http.response.start", "status": 403, "headers": [
                (b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]})  # fmt: skip
            await send({"type": "http.response.body", "body": refusal.encode()})
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        await self.app(scope, receive, with_headers)
