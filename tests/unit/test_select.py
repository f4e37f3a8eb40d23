"""`weitiao select`: new data with the chosen rows, why the others were left out, and what goes wrong in words."""

from __future__ import annotations

import json
import shutil
from importlib import import_module

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.tiny import TEXTS, tiny_llama
from tests.unit.test_select_strategies import BANK, SEA, texts
from weitiao.cli.main import app
from weitiao.data.kept import keeper
from weitiao.errors import DataError, RecipeError, WeitiaoError
from weitiao.workshop.select import select, selecting


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    rows = [(text, "sea") for text in texts(SEA, 150)] + [(text, "bank") for text in texts(BANK, 50)]
    order = np.random.default_rng(0).permutation(len(rows))
    write(tmp_path / "pool.jsonl", [{"text": rows[i][0], "source": rows[i][1], "n": int(i)} for i in order])
    write(tmp_path / "target.jsonl", [{"text": text} for text in texts(BANK, 40, seed=1)])
    return tmp_path


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run(*words):
    done = CliRunner().invoke(app, ["select", *map(str, words)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_importance_from_the_command(folder):
    told = run("pool.jsonl", "--by", "importance", "--like", "target.jsonl", "--rows", 40, "--out", "chosen")
    pool, chosen = read(folder / "pool.jsonl"), read(folder / "chosen/train.jsonl")
    assert len(chosen) == 40
    assert sum(row["source"] == "bank" for row in chosen) > 35
    places = [pool.index(row) for row in chosen]
    assert places == sorted(places)  # whole rows, in their order
    changes = read(folder / "chosen/changes.jsonl")
    assert len(changes) == 160
    assert {(each["action"], each["rule"]) for each in changes} == {("dropped", "importance")}
    assert all("log weight" in each["reason"] for each in changes)
    assert {each["row"] for each in changes} == {f"pool.jsonl:{n + 1}" for n in range(200)} - {
        f"pool.jsonl:{place + 1}" for place in places
    }
    made = json.loads((folder / "chosen/made.json").read_text())
    assert made["settings"]["by"] == {"name": "importance", "words": 2, "buckets": 10000, "smoothing": 1.0}
    assert made["rows"] == {"data": {"before": 200, "after": 40}}
    lines = told.splitlines()
    assert lines[1].split()[:2] == ["pool", "200"]
    assert lines[2].split()[:2] == ["chosen", "40"]
    assert "told from the target" in lines[0]


def test_the_chosen_are_more_like_the_target(folder):
    selected = select("pool.jsonl", "out", by="importance", rows=40, like="target.jsonl")
    assert selected.pool.target.auc > 0.8
    assert selected.chosen.target.auc < 0.7
    assert selected.chosen.rows == 40
    other = select("pool.jsonl", "again", by="importance", rows=40, like="target.jsonl")
    assert (folder / "out/train.jsonl").read_text() == (folder / "again/train.jsonl").read_text()
    assert other.chosen == selected.chosen


def test_json_and_csv(folder):
    told = json.loads(run("pool.jsonl", "--by", "random", "--rows", 5, "--out", "five", "--json", "--format", "csv"))
    assert told["chosen"]["rows"] == 5
    assert told["pool"]["target"] is None
    assert len((folder / "five/train.csv").read_text().splitlines()) == 6


def test_filters_need_no_number(folder):
    write(folder / "pool.jsonl", [{"text": text} for text in [*TEXTS, "#### 1234 $$$$", "yes " * 50]])
    run("pool.jsonl", "--by", "quality", "--out", "good")
    assert [row["text"] for row in read(folder / "good/train.jsonl")] == list(TEXTS)
    assert next(each["score"] for each in read(folder / "good/changes.jsonl")) == 1.0
    with pytest.raises(DataError, match="no row passes"):
        run("pool.jsonl", "--by", "quality", "--set", "shortest=1000", "--out", "none")
    assert not (folder / "none").exists()


def test_a_model_measures_and_what_it_found_is_kept(folder, monkeypatch):
    model = tiny_llama(folder / "model")
    words = ("pool.jsonl", "--by", "perplexity", "--set", f"model={model}", "--rows", 20)
    run(*words, "--out", "one")
    monkeypatch.setattr("weitiao.workshop.decoding._losses", lambda *_: pytest.fail("measured again"))
    run(*words, "--out", "two")
    assert (folder / "one/train.jsonl").read_text() == (folder / "two/train.jsonl").read_text()


def test_other_splits_stay_as_they_are(folder):
    (folder / "data").mkdir()
    for name, count in (("train", 30), ("test", 10)):
        write(folder / f"data/{name}.jsonl", [{"text": text, "label": "a"} for text in texts(SEA + BANK, count)])
    run("data", "--by", "random", "--rows", 7, "--out", "new")
    assert len(read(folder / "new/train.jsonl")) == 7
    assert (folder / "new/test.jsonl").read_text() == (folder / "data/test.jsonl").read_text()


def test_columns_of_the_pool_count_where_the_target_has_them(folder):
    write(folder / "reviews.jsonl", [{"review": text, "other": "x " * 60} for text in texts(SEA + BANK, 50)])
    run("reviews.jsonl", "--by", "importance", "--columns", "text=review", "--like", "target.jsonl", "--rows", 5,
        "--out", "new")  # fmt: skip
    assert len(read(folder / "new/train.jsonl")) == 5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--by", "improtance", "--rows", 5], "--by: unknown strategy 'improtance'\nDid you mean 'importance'"),
        (["--by", "importance", "--rows", 5], "--like: this strategy needs texts"),
        (["--by", "importance", "--like", "target.jsonl"], "--rows: this strategy needs to know how many"),
        (["--by", "random", "--rows", 0], "--rows: found 0"),
        (["--by", "k-center", "--rows", 201], "201 rows are asked for, and there are 200 rows in the pool"),
        (["--by", "importance", "--rows", 5, "--like", "no.jsonl"], "there is no file or folder 'no.jsonl'"),
        (["--by", "importance", "--rows", 5, "--set", "smooth=1"], "unknown key. Did you mean 'smoothing'"),
        (["--by", "perplexity", "--set", "low=0.9", "--set", "high=0.5"], "choose a low below high"),
        (["--by", "perplexity"], "--like: this strategy needs texts"),
        (["--by", "clusters", "--rows", 5, "--set", "model=no/such"], "no/such"),
    ],
)
def test_bad_input_is_told_and_nothing_is_written(folder, words, told):
    with pytest.raises(WeitiaoError) as error:
        run("pool.jsonl", *words, "--out", "new")
    assert told in str(error.value)
    assert not (folder / "new").exists()


def test_a_target_of_several_splits_is_refused(folder):
    (folder / "data").mkdir()
    for name in ("train", "test"):
        write(folder / f"data/{name}.jsonl", [{"text": text} for text in texts(BANK, 5)])
    with pytest.raises((DataError, WeitiaoError), match=r"splits|test|train"):
        select("pool.jsonl", "new", by="importance", rows=5, like="data")


def test_what_is_there_is_not_written_over(folder):
    (folder / "new").mkdir()
    (folder / "new/mine.txt").write_text("keep")
    with pytest.raises(WeitiaoError, match="is there already"):
        select("pool.jsonl", "new", by="random", rows=5)
    with pytest.raises(RecipeError, match="unknown selection"):
        select("pool.jsonl", "other", by="nothing", rows=5)


def test_progress_counts_rows(folder, monkeypatch):
    told = []
    select("pool.jsonl", "new", by="importance", rows=5, like="target.jsonl", tell=lambda *each: told.append(each))
    assert ("choosing", 200, 200) in told
    assert told[-1] == ("comparing", 0, 200)
    monkeypatch.setattr(selecting, "SAMPLE", 20)
    assert select("pool.jsonl", "some", by="random", rows=30, like="target.jsonl").pool.target.training == 20


def test_damaged_arrays_are_made_anew(folder):
    keep = keeper("selections", "key")
    made = keep("a/b", lambda: {"x": np.arange(3)})
    file = next((folder / "cache/selections/key").rglob("*.safetensors"))
    assert keep("a/b", dict)["x"].tolist() == made["x"].tolist() == [0, 1, 2]
    file.write_bytes(b"damaged")
    assert keep("a/b", lambda: {"x": np.arange(4)})["x"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("before", ["sources.cache._sweep", "data.kept.save_file", "sources.cache._umask"])
def test_arrays_are_kept_though_the_cache_is_removed_meanwhile(folder, monkeypatch, before):
    module, _, name = f"weitiao.{before}".rpartition(".")
    does, removed = getattr(import_module(module), name), []

    def removed_first(*given):
        if not removed:
            removed.append(shutil.rmtree(folder / "cache"))
        return does(*given)

    keep = keeper("selections", "key")
    monkeypatch.setattr(f"{module}.{name}", removed_first)
    assert keep("a/b", lambda: {"x": np.arange(3)})["x"].tolist() == [0, 1, 2]
    assert removed
    assert keep("a/b", dict)["x"].tolist() == [0, 1, 2]
