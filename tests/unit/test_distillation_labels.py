"""A student that learns the labels which a chat model names: asked, read, kept, told; an endpoint or a model here."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from tests import tiny
from tests.chat_server import Reply, serving, troubled
from tests.same import same_weights
from tests.watching import Stopper
from weitiao import Recipe, check, evaluate, resume, train
from weitiao.cli.main import main
from weitiao.errors import Interrupted, RecipeError, RunError, SourceError
from weitiao.preparation import Preparation, prepare
from weitiao.records import Batch
from weitiao.tasks.label_prompts import CUT, NONE, SEVERAL, label_named, label_prompt
from weitiao.teaching import chat_teacher, with_teacher

WORDS = {"good": ("great", "fine", "nice", "lovely"), "bad": ("poor", "awful", "weak", "dull")}
PLACES = ("room", "hotel", "film", "book")


def rows(*, wrong: bool = False, more: str = "today") -> list[tuple[str, str]]:
    """Texts whose label one word decides; `wrong`: the labels of others."""
    found = [(f"the {place} was {WORDS[label][number]} {more}", label)
             for place in PLACES for number in range(4) for label in WORDS]  # fmt: skip
    if wrong:
        found = [(text, "good" if (len(text) + row // 3) % 2 else "bad") for row, (text, _) in enumerate(found)]
    return found


def written(path: Path, found: list[tuple[str, ...]], header: tuple[str, ...] = ("text", "label")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *found])
    return path


def right(text: str) -> str:
    return next(label for label, words in WORDS.items() if any(word in text for word in words))


def asked(body: dict[str, Any]) -> str:
    """The text that a question of the usual wording is about."""
    question = str(body["messages"][-1]["content"])
    return question.splitlines()[0].removeprefix("Text: ")


def answer(body: dict[str, Any], _: int = 0) -> Reply:
    return Reply(right(asked(body)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    return tiny.tiny_bert(folder, [text for text, _ in rows()], num_hidden_layers=1)


@pytest.fixture
def student(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """The recipe of a student whose labels are wrong unless said otherwise."""
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("weitiao.chats.endpoint.FIRST_WAIT", 0.01)

    def build(
        *, data: list[tuple[str, ...]] | None = None, epochs: float = 2, task: Any = "text-classification",
        teacher: Any = None, url: str = "http://localhost:1/v1", **distillation: Any,
    ) -> dict[str, Any]:  # fmt: skip
        path = written(tmp_path / "data.csv", rows(wrong=True) if data is None else data)
        endpoint = {"base_url": url, "model": "big", "together": 1, "timeout": 5.0}
        return {
            "task": task, "model": {"source": str(model)}, "output": str(tmp_path / "run"),
            "data": {"train": str(path), "validation_size": 0, "test_size": 0.25, "seed": 1},
            "training": {"epochs": epochs, "learning_rate": 3e-3, "batch_size": 8, "precision": "fp32", "seed": 3},
            "evaluation": {"bootstrap": 20},
            "distillation": {"teacher": teacher or endpoint, "share": 1.0, **distillation},
        }  # fmt: skip

    return build


def taught(values: dict[str, Any]) -> Preparation:
    return with_teacher(prepare(Recipe(**values)))


def learned(ready: Preparation) -> dict[str, str]:
    """The likeliest label of what is taught, by text."""
    assert ready.taught is not None
    labels = ready.task.likeliest(ready.taught)  # type: ignore[attr-defined]
    return dict(zip(ready.splits["train"]["text"], labels, strict=True))


def told(ready: Preparation) -> str:
    return "\n".join(str(each) for each in ready.findings if "the teacher" in each.problem)


# --- what is asked


def test_the_question_names_the_text_and_each_label() -> None:
    question = label_prompt({"text": "a {label} film", "label": "x"}, ["good", "not bad"])
    assert question.startswith("Text: a {label} film\n")
    assert "\n- good\n- not bad\n" in question
    pair = label_prompt({"text": "one", "text_pair": "two"}, ["same", "other"])
    assert "First text: one\nSecond text: two\n" in pair
    chinese = label_prompt({"text": "酒店的服务非常好"}, ["好评", "差评"])
    assert chinese.startswith("文本：酒店的服务非常好\n")
    assert "\n- 好评\n- 差评\n" in chinese
    assert "文本二：太差了" in label_prompt({"text": "服务太差了", "text_pair": "太差了"}, ["同", "异"])
    assert label_prompt({"text": "x"}, ["a", "b"], "{labels}? {text}") == "- a\n- b? x"


# --- what is read of the answers

LABELS = ["card_arrival", "card arrival late", "Positive", "negative", "very positive"]
CHINESE = ["好评", "差评", "一般", "不好说"]


@pytest.mark.parametrize(("reply", "label"), [
    ("Positive", "Positive"), ("POSITIVE.", "Positive"), ("'positive'", "Positive"), ("**positive**", "Positive"),
    ("Label: positive", "Positive"), ("**Label:** positive", "Positive"), ("The label is \"positive\".", "Positive"),
    ("The sentiment of this text is very positive!", "very positive"), ("- positive", "Positive"),
    ("card arrival", "card_arrival"), ("Card-Arrival", "card_arrival"), ("card arrival late", "card arrival late"),
    ('{"label": "positive"}', "Positive"), ('```json\n{"label": "positive"}\n```', "Positive"),
    ("positive\n\nThe guest liked it.", "Positive"), ("Answer: negative\nAnswer: negative", "negative"),
    ("Answer： ｎegative", "negative"), ("标签：positive。", "Positive"),
])  # fmt: skip
def test_a_label_is_read_however_it_is_put(reply: str, label: str) -> None:
    assert label_named(reply, LABELS) == (label, "")


@pytest.mark.parametrize(("reply", "fault"), [
    ("", NONE), ("I cannot say.", NONE), ("not positive", NONE), ("It is not positive.", NONE), ("positive?", NONE),
    ("positively", NONE), ("posit", NONE), ("card", NONE), ("positive or negative", SEVERAL),
    ("positive\nnegative", SEVERAL), ("positive\n\nIt is not negative.", SEVERAL),
])  # fmt: skip
def test_what_names_no_label_or_several_names_none(reply: str, fault: str) -> None:
    assert label_named(reply, LABELS) == ("", fault)


@pytest.mark.parametrize(("reply", "found"), [
    ("好评。", ("好评", "")), ("这段文本的标签应为“差评”。", ("差评", "")), ("该评论属于差评", ("差评", "")),
    ("不好说", ("不好说", "")), ("标签是【一般】", ("一般", "")), ("不是好评", ("", NONE)),
    ("好评还是差评", ("", SEVERAL)), ("我不知道", ("", NONE)),
])  # fmt: skip
def test_chinese_is_read_so_too(reply: str, found: tuple[str, str]) -> None:
    assert label_named(reply, CHINESE) == found


@pytest.mark.parametrize(("reply", "labels", "label"), [
    ("-1", ["-1", "0", "1"], "-1"), ("1.", ["-1", "0", "1"], "1"), ("Label: -1", ["-1", "0", "1"], "-1"),
    ("A", ["A", "a"], "A"), ("a.", ["A", "a"], "a"), ("c++", ["C++", "C#", "C"], "C++"),
    ("C.", ["C++", "C#", "C"], "C"), ("!!!", ["!!!", "?"], "!!!"), ("", ["!!!", "?"], ""),
    ("a_b", ["a b", "a-b"], ""), ("a-b", ["a b", "a-b"], "a-b"),
    ("is", ["is", "it"], "is"), ("The label is it.", ["is", "it"], ""),
])  # fmt: skip
def test_labels_of_signs_and_labels_that_are_spelled_alike_are_not_mistaken(
    reply: str, labels: list[str], label: str
) -> None:
    assert label_named(reply, labels)[0] == label


def test_of_an_answer_that_was_cut_the_last_line_is_not_read() -> None:
    assert label_named("card arrival", LABELS, cut=True) == ("", CUT)  # it may have been the late one
    assert label_named("positive\n\nThe guest", LABELS, cut=True) == ("Positive", "")
    assert label_named("positive\n\nIt is not negative", LABELS, cut=True) == ("", CUT)


# --- an endpoint as teacher


def test_a_student_learns_the_labels_of_an_endpoint_and_not_those_of_the_data(
    student: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with serving(answer) as server:
        values = student(url=server.url, epochs=40)
        values["training"] |= {"learning_rate": 1e-3}
        run = train(Recipe(**values))
    assert len(server.bodies) == 24
    assert {body["temperature"] for body in server.bodies} == {0.0}
    good = written(tmp_path / "right.csv", rows())
    assert evaluate(run.folder, str(good)).scores.main > 0.9
    problems = [each["problem"] for each in json.loads((run.folder / "report.json").read_text())["findings"]]
    assert any("the teacher named a label of 24 of 24 training examples" in each for each in problems)
    assert any("the teacher's label is that of the data for " in each for each in problems)
    assert run.recipe.distillation is not None
    assert run.recipe.distillation.temperature == 1  # the loss of a sure answer is cross-entropy


def test_the_loss_of_a_named_label_is_its_cross_entropy(student: Callable[..., dict[str, Any]]) -> None:
    with serving(answer) as server:
        ready = taught(student(url=server.url))
    assert ready.taught is not None
    logits = torch.tensor([[0.5, -1.0], [2.0, 0.3]])
    batch = Batch({}, torch.tensor([0, 1]), 2.0, 2, [0, 1])
    temperature = ready.recipe.distillation.temperature  # type: ignore[union-attr]
    given = torch.from_numpy(ready.taught[[0, 1]])
    loss = ready.task.divergence_from(SimpleNamespace(logits=logits), given, temperature, batch)  # type: ignore[attr-defined]
    wanted = torch.nn.functional.cross_entropy(logits, given.argmax(-1), reduction="sum")
    assert float(loss) == pytest.approx(float(wanted), rel=1e-5)


def test_an_endpoint_that_delays_fails_limits_and_babbles_teaches_all_the_same(
    student: Callable[..., dict[str, Any]],
) -> None:
    bad, script = troubled(answer, delay=1.0)
    with serving(script) as server:
        endpoint = {"base_url": server.url, "model": "big", "together": 2, "timeout": 0.6, "retries": 2 * bad}
        wanted = student(teacher=endpoint)
        found = taught(wanted)
        assert learned(found) == {text: right(text) for text in learned(found)}
        assert len(server.bodies) == 24 + bad
        assert found.facts["teachers"] == ["big"]
        again = taught(wanted)  # what was said is kept
        assert len(server.bodies) == 24 + bad
        assert again.digest == found.digest != prepare(Recipe(**wanted)).digest


def test_what_names_no_label_is_left_out_counted_and_shown_and_the_datas_label_is_learned(
    student: Callable[..., dict[str, Any]],
) -> None:
    odd = {"room": Reply("I cannot say"), "hotel": Reply("good or bad"), "film": Reply("too long", 400)}

    def script(body: dict[str, Any], number: int) -> Reply:
        return next((reply for word, reply in odd.items() if word in asked(body)), answer(body))

    with serving(script) as server:
        wanted = student(url=server.url, data=rows())
        ready = taught(wanted)
        texts = ready.splits["train"]["text"]
        counts = {word: sum(word in text for text in texts) for word in (*odd, "book")}
        own = dict(zip(texts, ready.splits["train"]["label"], strict=True))
        assert learned(ready) == own
        said = told(ready)
        assert f"named a label of {counts['book']} of 24 training examples" in said
        assert f"{counts['room']} naming no label ('I cannot say')" in said
        assert f"{counts['hotel']} naming several labels ('good or bad')" in said
        assert f"{counts['film']} not answered" in said
        assert f"is that of the data for {counts['book']} of {counts['book']} training examples (100.0%)" in said
        [few] = [each for each in ready.findings if "named a label" in each.problem]
        assert few.level == "warning"  # fewer than half
        before = len(server.bodies)
        assert told(taught(wanted)) == said  # refusals are kept, too
        assert len(server.bodies) == before


def test_a_teacher_that_is_worse_than_the_commonest_label_is_warned_of(
    student: Callable[..., dict[str, Any]],
) -> None:
    def script(body: dict[str, Any], number: int) -> Reply:
        return Reply("bad" if right(asked(body)) == "good" else "good")

    with serving(script) as server:
        ready = taught(student(url=server.url, data=rows()))
    [found] = [each for each in ready.findings if "that of the data for" in each.problem]
    assert found.level == "warning"
    assert "for 0 of 24 training examples (0.0%)" in found.problem
    assert "'bad' where they say 'good' (" in found.problem
    assert "for all would be right for " in found.problem


def test_thoughts_are_not_read(student: Callable[..., dict[str, Any]]) -> None:
    def script(body: dict[str, Any], number: int) -> Reply:
        thought = "<think>good or bad?\n" if number % 2 else "good or bad?\n"
        return Reply(f"{thought}</think>\n\n{right(asked(body))}")

    with serving(script) as server:
        found = learned(taught(student(url=server.url)))
    assert found == {text: right(text) for text in found}


def test_where_no_label_is_named_at_all_it_is_an_error(student: Callable[..., dict[str, Any]]) -> None:
    with serving(lambda body, number: Reply("I am a teapot")) as server:
        wanted = student(url=server.url)
        with pytest.raises(RunError, match=r"none of the 24 answers .* 24 naming no label \('I am a teapot'\)"):
            train(Recipe(**wanted))
    assert not Path(wanted["output"]).exists()


def test_what_waiting_does_not_mend_is_told_at_once(student: Callable[..., dict[str, Any]]) -> None:
    with serving(lambda body, number: Reply("no such key", 401)) as server:
        wanted = student(url=server.url)
        with pytest.raises(SourceError, match="answers 401: no such key"):
            train(Recipe(**wanted))
        assert len(server.bodies) == 1
    assert not Path(wanted["output"]).exists()


def test_it_stops_before_it_costs_too_much_and_goes_on_where_it_was(student: Callable[..., dict[str, Any]]) -> None:
    with serving(answer) as server:
        endpoint = {"base_url": server.url, "model": "big", "together": 1, "max_tokens": 50, "prompt_price": 1e6,
                    "completion_price": 1e6, "most_cost": 300}  # fmt: skip
        with pytest.raises(RunError, match=r"answered (\d+) of 24 examples, then no more: the limit"):
            taught(student(teacher=endpoint))
        assert 0 < len(server.bodies) < 24
        taught(student(teacher=endpoint | {"most_cost": 100_000}))
        assert len({asked(body) for body in server.bodies}) == len(server.bodies) == 24  # nothing was asked twice


def test_a_question_that_failed_stops_it_and_a_run_goes_on_with_the_answers_that_it_began_with(
    student: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    broken, state = list(learned_texts(student()))[3], "bad"

    def script(body: dict[str, Any], number: int) -> Reply:
        return Reply("broken", 500) if state == "bad" and broken in asked(body) else answer(body)

    with serving(script) as server:
        endpoint = {"base_url": server.url, "model": "big", "together": 1, "retries": 1}
        wanted = student(teacher=endpoint, share=0.5)
        with pytest.raises(RunError, match="answered 23 of 24 examples; 1 failed at each try"):
            train(Recipe(**wanted))
        assert not Path(wanted["output"]).exists()
        state = "good"
        whole = train(Recipe(**wanted))
        with pytest.raises(Interrupted):
            train(Recipe(**wanted | {"output": str(tmp_path / "cut")}), trackers=[Stopper(4)])
        before = len(server.bodies)
        again = resume(tmp_path / "cut")
        assert len(server.bodies) == before == 26
    same_weights(whole, again)


def learned_texts(values: dict[str, Any]) -> list[str]:
    return list(prepare(Recipe(**values)).splits["train"]["text"])


def test_check_asks_no_teacher(student: Callable[..., dict[str, Any]]) -> None:
    with serving(answer) as server:
        found = check(Recipe(**student(url=server.url)))
        assert server.bodies == []
    assert "forecast" in found.facts
    assert any("not in the forecast" in each.problem for each in found.findings)
    written_out = Recipe(**yaml.safe_load(found.recipe.to_yaml()))  # with the temperature that it comes to
    assert check(written_out, forecast=False).recipe.distillation == found.recipe.distillation


# --- its own words


def test_a_prompt_of_the_recipe_is_asked_in_place_of_the_usual_one(student: Callable[..., dict[str, Any]]) -> None:
    def script(body: dict[str, Any], number: int) -> Reply:
        return Reply(right(body["messages"][-1]["content"].rpartition("|")[2]))

    with serving(script) as server:
        found = taught(student(url=server.url, prompt="Is it\n{labels}\nto stay there? |{text}"))
        assert "named a label of 24 of 24" in told(found)
        assert server.prompts()[0].startswith("Is it\n- bad\n- good\nto stay there? |the ")


def test_pairs_are_asked_about_together(student: Callable[..., dict[str, Any]]) -> None:
    pairs = [(text, f"{text} again", label) for text, label in rows()]
    with serving(lambda body, number: Reply(right(body["messages"][-1]["content"].split("\n")[1]))) as server:
        wanted = student(url=server.url)
        path = written(Path(wanted["data"]["train"]), pairs, ("text", "text_pair", "label"))
        wanted["data"]["train"] = str(path)
        found = taught(wanted)
        assert "named a label of 24 of 24" in told(found)
        assert server.prompts()[0].split("\n")[1].startswith("Second text: the ")


# --- examples without a label


def test_the_teacher_answers_examples_that_have_no_label(
    student: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    def script(body: dict[str, Any], number: int) -> Reply:
        return Reply("no idea") if "again" in asked(body) and "film" in asked(body) else answer(body)

    new = rows(more="again")
    pool = written(tmp_path / "pool.csv", [(text,) for text, _ in [*rows()[:2], *new]], ("text",))
    with serving(script) as server:
        wanted = student(url=server.url, share=0.5, unlabelled=str(pool))
        ready = taught(wanted)
        assert len(server.bodies) == 24 + 32
        kept = {text: label for text, label in new if "film" not in text}
        assert len(ready.splits["train"]) == 24 + len(kept)
        assert len(ready.labelled("train").rows) == 24
        assert {text: label for text, label in learned(ready).items() if "again" in text} == kept
        assert f"and of {len(kept)} of 32 without one, of which the others are left out" in told(ready)
        assert ready.digest != taught(student(url=server.url, share=0.5)).digest
        run = train(Recipe(**wanted))
        assert run.score is not None


def test_where_none_of_them_has_an_answer_the_others_are_learned(
    student: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    pool = written(tmp_path / "pool.csv", [(text,) for text, _ in rows(more="again")], ("text",))
    with serving(lambda body, number: Reply("?") if "again" in asked(body) else answer(body)) as server:
        ready = taught(student(url=server.url, unlabelled=str(pool)))
    assert len(ready.splits["train"]) == 24
    assert "and of 0 of 32 without one" in told(ready)


# --- a chat model of this machine


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = [text for text, _ in rows()] + ["good", "bad"]
    return tiny.tiny_llama(tmp_path_factory.mktemp("decoder"), words, max_position_embeddings=256, hidden_size=64,
                           intermediate_size=128)  # fmt: skip


def test_a_run_of_chat_names_labels(
    student: Callable[..., dict[str, Any]], decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": label}]}
             for text, label in rows()]  # fmt: skip
    data = tmp_path / "chats.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    chat = train({
        "task": "chat", "model": {"source": str(decoder)}, "output": str(tmp_path / "chat"),
        "data": {"train": str(data), "validation_size": 0, "test_size": 0},
        "training": {"epochs": 60, "learning_rate": 5e-3, "batch_size": 4, "precision": "fp32", "seed": 3},
        "evaluation": {"bootstrap": 0, "baselines": False},
    })  # fmt: skip
    wanted = student(teacher=str(chat.folder), prompt="{text}")
    ready = taught(wanted)
    found = learned(ready)
    assert "named a label of 24 of 24" in told(ready)
    assert np.mean([label == right(text) for text, label in found.items()]) > 0.8
    monkeypatch.setattr("weitiao.artifacts.artifact.Artifact.load_model", lambda *_: pytest.fail("all is kept"))
    assert learned(taught(wanted)) == found


def test_a_pretrained_model_is_asked_too(student: Callable[..., dict[str, Any]], decoder: Path) -> None:
    ready = prepare(Recipe(**student(teacher=str(decoder))))
    teacher: Any = chat_teacher.ChatTeacher.open(ready.recipe, 7)
    assert teacher.identity["generation"]["max_new_tokens"] == 7
    said = dict(teacher.answers(["good or bad?"]))
    assert sorted(said) == [0]
    with pytest.raises(RunError, match="none of the 24 answers of the teacher can be learned"):
        with_teacher(ready)  # it was not trained


# --- what does not go together


@pytest.mark.parametrize(("change", "message"), [
    ({"teacher": "nowhere"}, r"distillation\.teacher.*nowhere"),
    ({"temperature": 3.0}, r"distillation\.temperature.*names a label, and gives no probabilities"),
    ({"least_similarity": 0.5}, "least_similarity.*learns no texts"),
    ({"prompt": "Which? {labels}"}, "the prompt has no text in it"),
    ({"prompt": "Which? {label} {text}"}, "which is no role of the task"),
    ({"teacher": [{"base_url": "http://x/v1", "model": "m"}, "runs/one"]}, "an endpoint teaches alone"),
    ({"teacher": {"base_url": "http://x/v1"}}, r"distillation\.teacher\.model.*is missing"),
    ({"teacher": {"base_url": "http://x/v1", "model": "m", "key": "NO_SUCH_KEY"}}, "NO_SUCH_KEY is not set"),
    ({"teacher": {"base_url": "http://x/v1", "model": "m", "most_cost": 1}}, "most_cost needs prompt_price"),
    ({"match": {}}, "the insides of one model are learned"),
    ({"level": "token"}, r"distillation\.level"),
])  # fmt: skip
def test_what_does_not_go_together_is_told(
    change: dict[str, Any], message: str, student: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        check(Recipe(**student(**change)), forecast=False)
    assert not (tmp_path / "run").exists()


def test_examples_of_several_labels_are_refused(student: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    wanted = student(data=[(text, f"{label}|{text.split()[1]}") for text, label in rows()])
    wanted["data"]["label_separator"] = "|"
    with pytest.raises(RecipeError, match=r"distillation\.teacher\): a chat model is asked for one label"):
        check(Recipe(**wanted), forecast=False)


def test_a_model_that_writes_nothing_or_is_one_of_several_is_refused(
    student: Callable[..., dict[str, Any]], model: Path, decoder: Path
) -> None:
    with pytest.raises(RecipeError, match="is an encoder, which writes nothing"):
        check(Recipe(**student(teacher=str(model))), forecast=False)
    with pytest.raises(RecipeError, match="is no run of 'text-classification': of several teachers the mean"):
        check(Recipe(**student(teacher=[str(decoder), str(decoder)])), forecast=False)


def test_a_role_that_the_data_have_not_is_told_before_anything_is_asked(
    student: Callable[..., dict[str, Any]],
) -> None:
    with serving(answer) as server:
        with pytest.raises(RecipeError, match=r"text_pair.*no role"):
            taught(student(url=server.url, prompt="{text} {text_pair} {labels}"))
        assert server.bodies == []


# --- by the command line


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Call the command line; return its exit code and what it said."""

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["weitiao", *arguments])
        try:
            code = main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


def test_a_recipe_file_is_checked_and_trained_by_the_command_line(
    student: Callable[..., dict[str, Any]], tmp_path: Path, command: Callable[..., tuple[int, str]]
) -> None:
    recipe = tmp_path / "student.yaml"
    with serving(answer) as server:
        recipe.write_text(yaml.safe_dump(student(url=server.url)))
        assert command("check", str(recipe))[0] == 0
        assert server.bodies == []
        code, said = command("train", str(recipe))
    assert code == 0
    assert "named a label of 24 of 24 training examples" in said
    assert (tmp_path / "run/report.html").exists()


def test_what_is_wrong_ends_the_command_with_2_and_nothing_is_written(
    student: Callable[..., dict[str, Any]], tmp_path: Path, command: Callable[..., tuple[int, str]]
) -> None:
    recipe = tmp_path / "student.yaml"
    with serving(lambda body, number: Reply("it depends")) as server:
        recipe.write_text(yaml.safe_dump(student(url=server.url)))
        code, said = command("train", str(recipe))
    assert code == 2
    assert "24 naming no label ('it depends')" in said
    assert "Traceback" not in said
    recipe.write_text(yaml.safe_dump(student(temperature=3.0)))
    code, said = command("check", str(recipe))
    assert code == 2
    assert "student.yaml:13 (distillation.temperature)" in said
    assert not (tmp_path / "run").exists()


def test_a_command_that_is_killed_while_it_asks_goes_on_where_it_was(
    student: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    recipe, slow = tmp_path / "student.yaml", True

    def script(body: dict[str, Any], number: int) -> Reply:
        return Reply(right(asked(body)), delay=60.0 if slow and number == 10 else 0.0)

    with serving(script) as server:
        values = student(url=server.url)
        values["distillation"]["teacher"]["timeout"] = 120.0
        recipe.write_text(yaml.safe_dump(values))
        command = [sys.executable, "-m", "weitiao", "train", str(recipe)]
        process = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline, kept = time.monotonic() + 120, tmp_path / "cache/answers"
        while len([*kept.rglob("*.json")]) < 10 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        slow, before = False, len(server.bodies)
        assert before == 11
        assert not (tmp_path / "run").exists()
        assert "named a label of 24 of 24" in told(taught(values))
        assert len(server.bodies) == before + 14  # ten answers were kept
