"""New training examples: as many as asked, of the right labels, aligned, never a text that is tested on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from tests.chat_server import Reply, serving
from tests.samples import reviews
from tests.tiny import tiny_bert
from tests.unit.test_clean import changes, lines, read, recipe, table, texts
from weitiao import registry
from weitiao.augmentation import LONGER, WITH, WITHOUT, augment_and_measure
from weitiao.data.keys import normalised
from weitiao.errors import DataError, RecipeError, WeitiaoError, WeitiaoWarning
from weitiao.preparation import prepare
from weitiao.recipe import AugmentSettings, Recipe
from weitiao.workshop.augmenting import augment
from weitiao.workshop.split import split

SOME = {"operators": ["drop-words", "swap-words"]}
PLAIN = {"operators": [{"name": "drop-words", "chinese": "characters"}]}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("augment")
    split(table(folder / "a.csv", reviews(120)), folder / "data")
    return folder / "data"


def test_new_rows_follow_those_there_are_and_tests_stay(data, tmp_path):
    made = augment(str(data), tmp_path / "new", SOME)
    before = read(data)
    rows = read(tmp_path / "new")
    assert rows[: len(before)] == before
    assert made.rows["train"] == {"before": 96, "after": 192}
    for name in ("validation", "test"):
        assert read(tmp_path / "new", name) == read(data, name)
    told = changes(tmp_path / "new")
    assert Counter(each["rule"] for each in told) == {"drop-words": 48, "swap-words": 48}
    assert {each["action"] for each in told} == {"added"}
    for new, each in zip(rows[len(before) :], told, strict=True):
        old = before[int(each["row"].rpartition(":")[2]) - 2]
        assert new["label"] == old["label"]
        assert set(re.findall(r"\w+", new["text"].lower())) <= set(re.findall(r"\w+", old["text"].lower()))
    known = [
        normalised(row["text"]) for name in ("train", "validation", "test") for row in read(tmp_path / "new", name)
    ]
    assert len(set(known)) == len(known)


def test_settings_and_data_alone_decide(data, tmp_path):
    found = []
    for place, seed in enumerate((0, 0, 1)):
        augment(str(data), tmp_path / f"new{place}", {**SOME, "seed": seed})
        found.append(texts(tmp_path / f"new{place}"))
    assert found[0] == found[1] != found[2]


def test_a_text_that_is_tested_on_is_never_made(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    table(folder / "train.csv", [("one two three", "x"), ("four five", "y")])
    table(folder / "test.csv", [("One Three", "x"), ("two three", "x"), ("four", "y")])
    made = augment(str(folder), tmp_path / "new", {"operators": ["drop-words"], "factor": 8.0})
    new = texts(tmp_path / "new")[2:]
    assert sorted(new) == sorted({"one two", "one", "two", "three", "five"} & set(new))
    assert not {"one three", "two three", "four"} & {normalised(text) for text in new}
    assert any("could be made" in note for note in made.notes)


@pytest.mark.parametrize(
    ("amount", "counts"),
    [({"factor": 0.5}, {"often": 45, "rare": 15}), ({"per_class": 7}, {"often": 37, "rare": 17}),
     ({"balance": True}, {"often": 30, "rare": 30}), ({"balance": True, "most": 2.0}, {"often": 30, "rare": 20})],
)  # fmt: skip
def test_as_many_as_asked_of_each_class(tmp_path, amount, counts):
    folder = tmp_path / "data"
    folder.mkdir()
    words = [text for text, _ in reviews(40)]
    table(folder / "train.csv", [(text, "often" if place < 30 else "rare") for place, text in enumerate(words)])
    augment(str(folder), tmp_path / "new", {**SOME, **amount})
    assert Counter(row["label"] for row in read(tmp_path / "new")) == counts


def test_what_a_row_cannot_give_others_of_its_class_do(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [("word", "x"), ("one two three four five six", "x"), ("a b c d e f g", "y"), ("w", "y")]
    table(folder / "train.csv", rows)
    augment(str(folder), tmp_path / "new", {"operators": ["drop-words"]})
    assert Counter(row["label"] for row in read(tmp_path / "new")[4:]) == {"x": 2, "y": 2}


def test_two_texts_of_one_label_are_put_together(data, tmp_path):
    augment(str(data), tmp_path / "new", {"operators": ["concatenate"], "factor": 0.3})
    labels = {row["text"]: row["label"] for row in read(data)}
    for row in read(tmp_path / "new")[len(labels) :]:
        [first] = [text for text in labels if row["text"].startswith(text)]
        [second] = [text for text in labels if row["text"].endswith(text)]
        assert labels[first] == labels[second] == row["label"]
        assert first != second


def tagged(count=30):
    random = np.random.default_rng(0)
    names = ["Anna Lee", "Bob", "Carla de Vries", "Acme", "Rome"]
    rows = []
    for number in range(count):
        name = names[int(random.integers(len(names)))].split()
        tokens = ["Today", "number", str(number), *name, "came", "to", "see", "the", "well-known", "house", "."]
        tags = ["O"] * 3 + ["B-X", *["I-X"] * (len(name) - 1)] + ["O"] * 7
        rows.append({"tokens": tokens, "tags": tags})
    return rows


def entities(row):
    found, run = [], []
    for token, tag in zip([*row["tokens"], ""], [*row["tags"], "O"], strict=True):
        if tag != "O":
            run.append((token, tag))
        elif run:
            found.append(run)
            run = []
    return found


@pytest.mark.parametrize("operator", ["drop-words", "swap-words", "typos", "truncate", "drop-span"])
def test_tags_move_with_their_tokens(tmp_path, operator):
    folder = tmp_path / "data"
    folder.mkdir()
    lines(folder / "train.jsonl", tagged())
    augment(str(folder), tmp_path / "new", {"operators": [operator, "drop-words"]})
    rows = read(tmp_path / "new")
    assert len(rows) == 60
    for each, new in zip(changes(tmp_path / "new"), rows[30:], strict=True):
        old = rows[int(each["row"].rpartition(":")[2]) - 1]
        assert len(new["tokens"]) == len(new["tags"])
        assert entities(new) == entities(old)
        assert new["tokens"] != old["tokens"]


@pytest.mark.parametrize("starts", [True, False])
def test_answers_stand_where_they_are_said_to(tmp_path, starts):
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for number in range(12):
        context = (
            f"On day {number} the baker opened early. He sold bread to Anna Lee. Then it rained for {number} hours."
        )
        row = {"question": "Who bought the bread?", "context": context, "answers": ["Anna Lee"]}
        rows.append({**row, "answer_starts": [context.index("Anna")]} if starts else row)
    lines(folder / "train.jsonl", rows)
    augment(str(folder), tmp_path / "new", {"operators": ["shuffle-sentences", "drop-words", "truncate"]})
    new = read(tmp_path / "new")[12:]
    assert len(new) == 12
    for row in new:
        [answer] = row["answers"]
        assert answer == "Anna Lee"
        assert answer in row["context"]
        if starts:
            assert row["context"][row["answer_starts"][0] :].startswith(answer)


def test_what_is_learned_to_be_written_stays(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    lines(folder / "train.jsonl", [
        {"messages": [{"role": "user", "content": f"please tell me about number {n} of them"},
                      {"role": "assistant", "content": f"number {n} is a good one of them"}]} for n in range(8)
    ])  # fmt: skip
    augment(str(folder), tmp_path / "new", SOME)
    rows = read(tmp_path / "new")
    for each, new in zip(changes(tmp_path / "new"), rows[8:], strict=True):
        old = rows[int(each["row"].rpartition(":")[2]) - 1]
        assert new["messages"][1] == old["messages"][1]
        assert new["messages"][0] != old["messages"][0]


def test_chinese_is_changed_by_characters(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    lines(folder / "train.jsonl", [{"text": f"酒店的服务非常好，第{n}次来", "label": "好"} for n in range(5)])
    augment(str(folder), tmp_path / "new", PLAIN)
    rows = read(tmp_path / "new")
    assert len(rows) == 10
    assert all(len(row["text"]) < len(rows[0]["text"]) for row in rows[5:])


# --- by models


def paraphrasing(url, **options):
    return {"name": "paraphrase", "endpoint": {"base_url": url, "model": "m", "retries": 0, **options}, "alike": 1.0}


def otherwise(body, number):
    """Say what is asked to be said otherwise backwards; texts that are tested on come back, too."""
    text = body["messages"][-1]["content"].rpartition("\n\n")[2]
    return Reply(json.dumps([" ".join(reversed(text.split())), text]))


def test_models_and_rules_take_turns(data, tmp_path, monkeypatch):
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    with serving(otherwise) as server:
        made = augment(str(data), tmp_path / "new", {"operators": [paraphrasing(server.url), "drop-words"]})
    rows = read(tmp_path / "new")
    told = changes(tmp_path / "new")
    assert Counter(each["rule"] for each in told) == {"paraphrase": 48, "drop-words": 48}
    for new, each in zip(rows[96:], told, strict=True):
        old = rows[int(each["row"].rpartition(":")[2]) - 2]
        assert new["label"] == old["label"]
        if each["rule"] == "paraphrase":
            assert new["text"] == " ".join(reversed(old["text"].split()))
    assert len(server.bodies) == 48
    assert any(note.startswith("paraphrase: ") and "made 48" in note for note in made.notes)
    label = rows[0]["label"]
    assert any(f'labelled "{label}"' in prompt for prompt in server.prompts())


def test_where_an_endpoint_stops_what_was_made_is_kept(data, tmp_path, monkeypatch):
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    limited = {"most_tokens": 900, "max_tokens": 200, "together": 1}
    with serving(otherwise) as server:
        made = augment(str(data), tmp_path / "new", {"operators": [paraphrasing(server.url, **limited)]})
    added = made.rows["train"]["after"] - 96
    assert 0 < added < 96
    assert any("stopped: " in note for note in made.notes)
    assert any(f"{added} of 96 new examples could be made" in note for note in made.notes)
    with serving(otherwise) as server:
        again = {"operators": [{**paraphrasing(server.url), "judge": False}]}
        with pytest.raises(RecipeError, match="endpoint"):
            augment(str(data), tmp_path / "b", {"operators": [{"name": "paraphrase"}]})
        assert augment(str(data), tmp_path / "c", again).rows["train"]["after"] == 192


def test_marks_cannot_be_followed_by_a_model(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    lines(folder / "train.jsonl", tagged(4))
    with serving(otherwise) as server, pytest.raises(DataError, match=r"train\.jsonl:1.*marked places"):
        augment(str(folder), tmp_path / "new", {"operators": [paraphrasing(server.url)]})
    assert server.bodies == []
    assert not (tmp_path / "new").exists()


# --- operators by name, and what is refused


@pytest.mark.parametrize("name", registry.names("operator"))
def test_every_operator_is_known_by_its_name(name):
    operator = registry.get("operator", name)
    assert operator.name == name
    assert operator.Options.model_config["frozen"]
    assert operator.Options.model_config["extra"] == "forbid"
    assert all(field.description for field in operator.Options.model_fields.values())


def test_data_that_are_not_split_are_refused(tmp_path):
    source = table(tmp_path / "a.csv", reviews(20))
    with pytest.raises(DataError, match="is not split"):
        augment(source, tmp_path / "new", SOME)
    assert not (tmp_path / "new").exists()
    made = augment(source, tmp_path / "new", SOME, all_train=True)
    assert made.rows["data"] == {"before": 20, "after": 40}
    table(tmp_path / "test.csv", reviews(20))
    with pytest.raises(DataError, match="holds no training split"):
        augment(str(tmp_path) + "/test", tmp_path / "other", SOME)


def test_splits_that_are_cut_from_data_with_copies_are_told(data, tmp_path, tiny_model):
    def told(train: str, **more: object) -> list[str]:
        wanted = Recipe(task="text-classification", model=str(tiny_model("encoder")), data={"train": train, **more})
        return [finding.problem for finding in prepare(wanted).findings if "weitiao augment" in finding.problem]

    augment(str(data), tmp_path / "split", SOME)
    assert not told(str(tmp_path / "split"))
    augment(table(tmp_path / "a.csv", reviews(60)), tmp_path / "whole", SOME, all_train=True)
    [problem] = told(str(tmp_path / "whole"))
    assert problem.startswith("validation and test are cut from data that `weitiao augment` made: copies of what")
    [problem] = told(str(tmp_path / "whole"), test=str(data / "test.csv"))
    assert problem.startswith("validation is cut from")
    assert not told(str(tmp_path / "whole"), test=str(data / "test.csv"), validation_size=0)
    [problem] = told(str(tmp_path / "split"), fold={"number": 1, "of": 3})
    assert problem.startswith("test is cut from")


def test_of_several_tasks_those_are_told_that_are_cut_from_data_with_copies(data, tmp_path, tiny_model):
    augment(str(data), tmp_path / "split", SOME)
    augment(table(tmp_path / "a.csv", reviews(60, seed=1)), tmp_path / "whole", SOME, all_train=True)
    sources = {"cut": str(tmp_path / "whole"), "given": str(tmp_path / "split"), "plain": str(tmp_path / "a.csv")}
    tasks = {name: {"task": "text-classification", "data": source} for name, source in sources.items()}
    wanted = Recipe(task={"name": "multi-task", "tasks": tasks}, model=str(tiny_model("encoder")))
    [told] = [each for each in prepare(wanted).findings if "weitiao augment" in each.problem]
    assert told.where == "cut: data.train"
    assert told.problem.startswith("validation and test are cut from data that `weitiao augment` made")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, r"augment\.operators: is missing"),
        ({"operators": []}, r"augment\.operators"),
        ({"operators": ["typo"]}, r"augment\.operators\[0\].*unknown operator 'typo'"),
        ({"operators": ["typos", {"name": "typos", "rat": 1}]}, r"rat.*unknown key"),
        ({"operators": ["typos"], "factor": 1.0, "balance": True}, "give one of"),
        ({"operators": ["typos"], "factor": 1.0, "most": 2.0}, "most goes with balance"),
        ({"operators": ["replace-words"]}, "near words"),
    ],
)
def test_settings_that_say_nothing_sensible(data, tmp_path, settings, told):
    with pytest.raises(RecipeError, match=f"(?s){told}"):
        augment(str(data), tmp_path / "new", settings)
    assert not (tmp_path / "new").exists()


def test_concatenating_needs_labels(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    lines(folder / "train.jsonl", tagged(5))
    with pytest.raises(RecipeError, match="there are no labels"):
        augment(str(folder), tmp_path / "new", {"operators": ["concatenate"]})


def test_a_recipes_section_is_read_and_written(data, tmp_path):
    path = recipe(tmp_path, data=str(data), augment={"operators": ["swap-words", {"name": "typos", "rate": 0.3}]})
    read_ = Recipe.read(path)
    assert isinstance(read_.augment, AugmentSettings)
    assert read_.augment.factor == 1.0
    assert Recipe(**read_.to_dict()).augment == read_.augment
    made = augment(path, tmp_path / "new", {"per_class": 3})
    assert made.settings["per_class"] == 3
    assert made.settings["factor"] is None
    assert made.settings["operators"][1]["rate"] == 0.3
    with pytest.raises(RecipeError, match="found"):
        Recipe.read(path, ["augment.factor=many"])


def test_the_command(data, tmp_path):
    def run(*words):
        return subprocess.run([sys.executable, "-m", "weitiao", "augment", str(data), *words], capture_output=True,
                              text=True, cwd=tmp_path)  # fmt: skip

    done = run("--out", "new", "--operators", "drop-words,{name: swap-words, rate: 0.3}", "--factor", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"]["train"] == {"before": 96, "after": 144}
    for words, told in ((("--out", "new", "--operators", "typos"), "is there already"),
                        (("--out", "b", "--operators", "5"), "--operators"),
                        (("--out", "b", "--operators", "drop-words", "--measure", "each"), "no model to train"),
                        (("--out", "b"), "augment.operators: is missing")):  # fmt: skip
        failed = run(*words)
        assert failed.returncode == 2, (words, failed.stderr)
        assert told in failed.stderr
        assert "Traceback" not in failed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


# --- does it help?


def test_it_is_measured_with_and_without(data, tmp_path):
    model = tiny_bert(tmp_path / "model", [text for text, _ in reviews(120)])
    path = recipe(tmp_path, model=str(model), data=str(data), training={"epochs": 1, "learning_rate": 1e-3},
                  evaluation={"bootstrap": 20, "baselines": False})  # fmt: skip
    asked = {"operators": ["drop-words"], "factor": 1.0}
    with pytest.warns(WeitiaoWarning, match="one seed"):
        made, compared = augment_and_measure(path, tmp_path / "new", asked, seeds=1)
    assert made.rows["train"]["after"] == 192
    by_name = {row.name: row for row in compared.rows}
    assert set(by_name) == {WITHOUT, LONGER, WITH}
    assert {name: row.attempts[0].steps for name, row in by_name.items()} == {WITHOUT: 3, LONGER: 6, WITH: 6}
    assert all(len(row.scores) == 1 for row in compared.rows)
    with pytest.warns(WeitiaoWarning, match="one seed"):
        assert augment_and_measure(path, tmp_path / "new", asked, seeds=1)[0] == made  # nothing is done again
    with pytest.raises(WeitiaoError, match="is there already"):
        augment_and_measure(path, tmp_path / "new", {"operators": ["typos"], "factor": 1.0}, seeds=1)
    split(table(tmp_path / "b.csv", reviews(60, seed=5)), tmp_path / "other")
    with pytest.raises(WeitiaoError, match="is there already"):  # the same settings, other data
        augment_and_measure(Recipe.read(path, [f"data.train={tmp_path / 'other'}"]), tmp_path / "new", asked, seeds=1)
