"""A labelling server that is really killed, amid many labels and in a round: no acknowledged label is lost."""

from __future__ import annotations

import csv
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs the extra label")

from tests.label_server import Server
from weitiao.labelling.log import Log
from weitiao.labelling.state import State

GOOD, BAD = ("great", "lovely", "kind", "clean"), ("rude", "cold", "dirty", "slow")
TEXTS = [f"the {thing} was {word}, visit {visit}" for visit in range(6) for thing in ("room", "meal", "staff", "view")
         for word in (*GOOD, *BAD)]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, tiny_model: Callable[[str], Path]) -> Path:
    with (tmp_path / "pool.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text",), *((text,) for text in TEXTS)])
    recipe = {"task": "text-classification", "model": str(tiny_model("encoder")), "data": "pool.csv",
              "training": {"epochs": 4, "learning_rate": 3e-3, "precision": "fp32", "checkpoint_every": 2,
                           "batch_size": 8}, "evaluation": {"bootstrap": 20}}  # fmt: skip
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    return tmp_path


def call(server: Server, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(server.url + path, None if body is None else json.dumps(body).encode(),
                                     {"x-weitiao": "page", "content-type": "application/json"})  # fmt: skip
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def label(server: Server, annotator: str) -> tuple[str, str] | None:
    """Label the next row; return it and its label once the server has acknowledged it."""
    example = call(server, f"api/next?annotator={annotator}")["example"]
    if example is None:
        return None
    answer = "good" if any(word in example["text"] for word in GOOD) else "bad"
    call(server, "api/acts", {"act": "label", "annotator": annotator, "row": example["row"], "answer": answer,
                              "id": uuid.uuid4().hex})  # fmt: skip
    return example["row"], answer


def state(folder: Path) -> State:
    return State().add(Log(folder / "labels/pool/labels.jsonl").news())


def test_no_label_that_was_acknowledged_is_lost(folder: Path) -> None:
    server = Server(folder, "--recipe", "recipe.json", "--labels", "good,bad", "--no-train")
    acknowledged: dict[str, str] = {}

    def work(name: str) -> None:
        try:
            while (done := label(server, name)) is not None:
                acknowledged[done[0]] = done[1]
        except (urllib.error.URLError, OSError, ValueError):  # the server was killed under it
            return

    for kill in range(3):
        server.start()
        threads = [threading.Thread(target=work, args=(name,)) for name in ("anna", "bob", "carl")]
        wanted = min(len(TEXTS), len(acknowledged) + 25)
        for thread in threads:
            thread.start()
        while len(acknowledged) < wanted and any(thread.is_alive() for thread in threads):
            time.sleep(0.002)
        server.kill()
        for thread in threads:
            thread.join()
        assert len(acknowledged) >= 25 * (kill + 1)
        found = state(folder)
        assert {row: found.settled(row).answer for row in acknowledged} == acknowledged  # type: ignore[union-attr]
        path = folder / "labels/pool/labels.jsonl"
        path.write_bytes(path.read_bytes() + b'{"act": "label", "annot')  # as if it had been killed in a write


def until(what: Callable[[], bool]) -> None:
    end = time.time() + 400
    while not what():
        assert time.time() < end
        time.sleep(0.05)


def rounds(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("labels/pool/rounds/*/round.json"))]


@pytest.mark.slow
def test_a_round_that_was_killed_is_gone_on_with_and_rounds_follow_one_another(folder: Path) -> None:
    server = Server(
        folder, "--recipe", "recipe.json", "--labels", "good,bad", "--every", "40", "--cold-start", "random"
    )
    server.start()
    until(lambda: rounds(folder) and rounds(folder)[0]["doing"] == "finished")  # what to begin with is chosen
    for _ in range(40):
        label(server, "anna")
    events = folder / "labels/pool/rounds/001/run/events.jsonl"
    until(lambda: events.exists() and events.read_text().count('"StepDone"') > 3)
    server.kill()
    server.start()
    until(lambda: rounds(folder)[-1]["number"] == 1 and rounds(folder)[-1]["doing"] == "finished")
    assert '"Resumed"' in events.read_text()
    first = rounds(folder)[-1]
    assert (first["rows"], first["answers"], first["problem"]) == (40, 40, "")
    assert first["score"] is not None
    example = call(server, "api/next?annotator=anna")["example"]
    assert set(dict(example["guess"]["others"])) == {"good", "bad"}
    progress = call(server, "api/progress?annotator=anna")
    assert (progress["queue"], progress["points"][0]["rows"]) == ("margin", 40)
    for _ in range(40):
        label(server, "bob")
    until(lambda: rounds(folder)[-1]["number"] == 2 and rounds(folder)[-1]["doing"] == "finished")
    shown = [act for acts in state(folder).on_row.values() for each in acts.values() for act in each if act.guess]
    assert len(shown) == 40
    server.process.terminate()  # type: ignore[union-attr]
    assert server.process.wait(timeout=60) is not None  # type: ignore[union-attr]
