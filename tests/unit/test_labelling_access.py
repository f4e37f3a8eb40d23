"""Who may talk to the page's server, the page itself, and the port: without the extra `label`."""

from __future__ import annotations

import re

import pytest

from weitiao.errors import WeitiaoError
from weitiao.labelling.access import Access, is_local
from weitiao.labelling.page import page
from weitiao.labelling.server import bound

HOST = {"host": "127.0.0.1:8765"}
OWN = {**HOST, "x-weitiao": "page"}


@pytest.mark.parametrize(
    ("method", "headers", "answered"),
    [
        ("GET", HOST, True),
        ("GET", {"host": "localhost:8765"}, True),
        ("GET", {"host": "[::1]:8765"}, True),
        ("GET", {}, False),
        ("GET", {"host": "evil.example"}, False),  # DNS rebinding
        ("GET", {"host": "127.0.0.1.evil.example:8765"}, False),
        ("GET", {"host": "["}, False),
        ("GET", {**HOST, "origin": "http://127.0.0.1:8765"}, True),
        ("GET", {**HOST, "origin": "http://evil.example"}, False),
        ("GET", {**HOST, "origin": "http://["}, False),
        ("GET", {**HOST, "origin": "null"}, False),
        ("GET", {**HOST, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, False),
        ("GET", {**HOST, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, True),  # a link to the page
        ("POST", HOST, False),  # a form of another site sends no header of its own
        ("POST", {**OWN, "origin": "http://evil.example"}, False),
        ("POST", {**OWN, "host": "evil.example", "origin": "http://evil.example"}, False),
        ("POST", OWN, True),
    ],
)
def test_pages_of_other_sites_are_refused(method, headers, answered):
    assert (Access.to("127.0.0.1").refusal(method, headers, "") == "") == answered


def test_another_address_of_this_machine_is_answered_too():
    access = Access.to("127.0.0.2")
    assert access.refusal("GET", {"host": "127.0.0.2:8765"}, "") == ""
    assert "answers to 127.0.0.2 and localhost" in access.refusal("GET", {"host": "127.0.0.3:8765"}, "")


def test_others_than_this_machine_need_the_token():
    access = Access.to("0.0.0.0")
    for query in ("", "token=", "token=wrong"):
        assert "lacks its token" in access.refusal("GET", {"host": "192.168.0.7"}, query)
    assert access.refusal("GET", {"host": "192.168.0.7"}, f"token={access.token}") == ""
    assert Access.to("127.0.0.1").token is None
    assert [is_local(host) for host in ("127.0.0.1", "::1", "localhost", "192.168.0.7", "lab.example")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_the_page_is_one_file_that_loads_nothing_and_escapes_the_name():
    html, policy = page("<i>a</i>")
    assert "&lt;i&gt;a&lt;/i&gt;" in html
    assert not re.search(r"""(src|href)=["'](?!data:)""", html)
    assert "https://" not in html
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]


def test_a_port_that_is_taken_is_told():
    with bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WeitiaoError, match="cannot listen") as error:
            bound("127.0.0.1", port)
    assert error.value.where == "--port"
