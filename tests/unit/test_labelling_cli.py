"""`weitiao label` on the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.labelling import pool, recipe
from weitiao.cli import label_simulation
from weitiao.cli.main import main


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pool(tmp_path)
    recipe(tmp_path)

    def command(*words: str, lines: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["weitiao", "label", *words])
        given = iter(lines.split())
        monkeypatch.setattr("rich.prompt.Prompt.ask", lambda *_, **__: next(given))
        try:
            code = main()
        except SystemExit as end:
            code = int(end.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return command


def test_a_project_is_begun_gone_on_with_and_exported(run, tmp_path):
    first = ("pool.csv", "--recipe", "recipe.json", "--labels", "good,bad", "--no-train", "--terminal", "--as", "anna")
    assert run(*first, lines="good bad :q")[0] == 0
    assert run("pool.csv", "--terminal", "--no-train", "--as", "bob", lines="1 :q")[0] == 0
    code, told, _ = run("export", "labels/pool", "--out", "out.csv")
    assert (code, told.splitlines()) == (0, ["settled: 3", "written to out.csv"])
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["labelled_by"] for row in rows) == ["anna", "anna", "bob"]
    Path("more.csv").write_text("text,label\na bad meal,odd\nelsewhere,good\n<b>so so</b>,\n")
    code, told, _ = run("import", "labels/pool", "more.csv", "--as", "carl", "--add-labels")
    assert (code, told.splitlines()) == (0, ["answers taken over: 1", "rows without an answer: 1",
                                             "rows that are not in the pool: 1", "new labels: odd"])  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("pool.csv", "--terminal"), "needs a recipe"),
        (("nothing.csv", "--recipe", "recipe.json"), "nothing.csv"),
        (("pool.csv", "--recipe", "recipe.json", "--terminal"), "--labels"),
        (("pool.csv", "--set", "training.epochs=1", "--terminal"), "--set"),
        (("pool.csv", "--recipe", "recipe.json", "--labels", "a", "--overlap", "3", "--terminal"), "--overlap"),
        (("pool.csv", "--recipe", "recipe.json", "--labels", "a", "--strategy", "x", "--terminal"), "--strategy"),
        (("export", "labels/pool", "--out", "x.csv"), "is no labelling project"),
        (("export", "labels/pool", "--out", "x.json"), "is no labelling project"),
    ],
)
def test_bad_input_ends_with_2_and_leaves_nothing(run, tmp_path, words, told):
    code, _, error = run(*words)
    assert code == 2
    assert told in error
    assert "Traceback" not in error
    assert not (tmp_path / "labels").exists() or not any((tmp_path / "labels").iterdir())


def test_the_name_of_a_json_file_tells_no_format(run):
    run("pool.csv", "--recipe", "recipe.json", "--labels", "a", "--no-train", "--terminal", lines=":q")
    code, _, error = run("export", "labels/pool", "--out", "x.json")
    assert code == 2
    assert "label-studio or argilla" in error


@pytest.mark.parametrize("words", [("--simulate", "recipe.json", "--seeds", "5,6"),
                                   ("simulate", "recipe.json", "--seeds", "5,6")])  # fmt: skip
def test_simulate_replays_a_labelled_set(run, monkeypatch, words):
    asked = {}
    monkeypatch.setattr(label_simulation, "simulate", lambda path, **given: asked.update(given, path=path))
    assert run(*words, "--strategies", "random,margin", "--until", "300")[0] == 0
    assert json.dumps(asked, default=str) == json.dumps({
        "strategies": ["random,margin"], "start": 100, "step": 100, "until": 300, "seeds": "5,6", "first": "random",
        "output": None, "set_": None, "quiet": False, "json_": False, "path": "recipe.json",
    })  # fmt: skip
