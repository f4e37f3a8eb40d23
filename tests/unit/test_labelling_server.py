"""The page's server: what it answers, and whom it refuses."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.labelling import desk
from weitiao.labelling.access import Access

pytest.importorskip("fastapi", reason="needs the extra label")
from fastapi.testclient import TestClient

from weitiao.labelling.server import application

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


@pytest.mark.parametrize("headers", [{}, {**OWN, "origin": "http://evil.example"}, {**OWN, "host": "["}])
def test_a_page_of_another_site_is_refused_and_nothing_is_kept(at, client, headers):
    reply = client.post("/api/acts", json=act(row=at.project.pool[0].id), headers=headers)
    assert reply.status_code == 403
    assert at.project.log.news() == []


@pytest.mark.parametrize("half", [{"act": "note", "note": r"\ud83d"}, {"row": r"\ud83d"}, {"answer": r"\ud83d"},
                                  {"act": "new-label", "answer": r"\ud83d"}, {r"\ud83d": 1}])  # fmt: skip
def test_half_a_character_is_refused(at, half):
    client = TestClient(application(at, Access.to("127.0.0.1")), base_url="http://127.0.0.1:8765",
                        raise_server_exceptions=False)  # fmt: skip
    sent = json.dumps(act(**{"row": at.project.pool[0].id, **half})).replace(r"\\", "\\")
    assert r'"\ud83d"' in sent
    reply = client.post("/api/acts", content=sent, headers={**OWN, "content-type": "application/json"})
    assert reply.status_code in (400, 422)
    assert reply.json()
    assert at.project.log.news() == []


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


def test_the_page_is_served_with_its_policy(client):
    served = client.get("/")
    assert served.headers["content-security-policy"].startswith("default-src 'none'; connect-src 'self'; script-src")
    assert served.headers["x-frame-options"] == "DENY"
