"""The page's server: what it answers, and whom it refuses."""

from __future__ import annotations

import re
import uuid

import pytest

from tests.labelling import desk
from weitiao.errors import WeitiaoError
from weitiao.labelling.access import Access, is_local
from weitiao.labelling.page import page

pytest.importorskip("fastapi", reason="needs the extra label")
from fastapi.testclient import TestClient

from weitiao.labelling.server import application, bound

OWN = {"x-weitiao": "page"}


@pytest.fixture
def at(tmp_path):
    return desk(tmp_path)


@pytest.fixture
def client(at):
    return TestClient(application(at, Access.to("127.0.0.1")), base_url="http://127.0.0.1:8765")


def act(**values):
    return {"act": "label", "annotator": "anna", "answer": "good", "id": uuid.uuid4().hex, **values}


def test_a_label_is_on_the_disk_when_the_answer_comes_and_counts_once(at, client):
    example = client.get("/api/next", params={"annotator": "anna"}, headers=OWN).json()["example"]
    sent = act(row=example["row"], seconds=1.5, shown=True)
    for _ in range(2):  # as after a lost answer
        reply = client.post("/api/acts", json=sent, headers=OWN)
        assert reply.json()["kept"] == sent["id"]
    [kept] = at.project.log.news()
    assert (kept.answer, kept.annotator, kept.row, kept.seconds) == ("good", "anna", example["row"], 1.5)
    assert not kept.shown  # there was no guess
    undo = {"annotator": "anna", "id": uuid.uuid4().hex}
    for _ in range(2):
        assert client.post("/api/undo", json=undo, headers=OWN).status_code == 200
    assert [each.act for each in at.project.log.news()] == ["label", "undo"]
    assert client.get("/api/progress", params={"annotator": "anna"}).json()["settled"] == 0


def test_what_cannot_be_kept_is_refused_with_its_fix(client):
    row = client.get("/api/next", params={"annotator": "anna"}).json()["example"]["row"]
    reply = client.post("/api/acts", json=act(row=row, answer="goood"), headers=OWN)
    assert reply.status_code == 400
    assert (reply.json()["problem"], reply.json()["fix"]) == ("unknown label 'goood'", "Did you mean 'good'?")
    for wrong in (act(row=row, act="undo"), act(row=row, id="x"), act(row=row, extra=1), {}):
        assert client.post("/api/acts", json=wrong, headers=OWN).status_code == 422
    assert client.get("/api/row/nowhere", params={"annotator": "anna"}).status_code == 400


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("GET", {"host": "localhost:8765"}, 200),
        ("GET", {"host": "evil.example"}, 403),  # DNS rebinding
        ("GET", {"host": "127.0.0.1.evil.example:8765"}, 403),
        ("GET", {"origin": "http://127.0.0.1:8765"}, 200),
        ("GET", {"origin": "http://evil.example"}, 403),
        ("GET", {"origin": "null"}, 403),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),  # a link to the page
        ("POST", {}, 403),  # a form of another site sends no header of its own
        ("POST", {**OWN, "origin": "http://evil.example"}, 403),
        ("POST", {**OWN, "host": "evil.example", "origin": "http://evil.example"}, 403),
        ("POST", OWN, 200),
    ],
)
def test_pages_of_other_sites_are_refused(at, client, method, headers, status):
    path, sent = ("/api/about", None) if method == "GET" else ("/api/acts", act(row=at.project.pool[0].id))
    reply = client.request(method, path, headers=headers, json=sent)
    assert reply.status_code == status
    assert len(at.project.log.news()) == (method == "POST" and status == 200)


def test_others_than_this_machine_need_the_token(at):
    access = Access.to("0.0.0.0")
    client = TestClient(application(at, access), base_url="http://192.168.0.7:8765")
    assert access.token
    for query in ("", "?token=", "?token=wrong"):
        reply = client.get(f"/{query}")
        assert reply.status_code == 403
        assert "lacks its token" in reply.text
    assert client.get(f"/?token={access.token}").status_code == 200
    assert client.get("/api/about", headers={"x-weitiao": access.token}).status_code == 200
    assert client.post("/api/acts", json=act(row=at.project.pool[0].id), headers=OWN).status_code == 403
    assert Access.to("127.0.0.1").token is None
    assert [is_local(host) for host in ("127.0.0.1", "::1", "localhost", "192.168.0.7", "lab.example")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_the_page_is_one_file_that_loads_nothing_and_escapes_the_name(client):
    html, policy = page("<i>a</i>")
    assert "&lt;i&gt;a&lt;/i&gt;" in html
    assert not re.search(r"""(src|href)=["'](?!data:)""", html)
    assert "https://" not in html
    served = client.get("/")
    assert served.headers["content-security-policy"].startswith("default-src 'none'; connect-src 'self'; script-src")
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert served.headers["x-frame-options"] == "DENY"


def test_a_port_that_is_taken_is_told():
    with bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WeitiaoError, match="cannot listen") as error:
            bound("127.0.0.1", port)
    assert error.value.where == "--port"
