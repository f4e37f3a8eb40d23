"""A student that learns what its teacher writes: asked once, kept, filtered; by a run, a chat model or an endpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.chat_server import Reply, serving, troubled
from tests.watching import Stopper
from weitiao import Recipe, check, load, resume, train
from weitiao.artifacts.artifact import open_artifact
from weitiao.artifacts.run_folder import Run
from weitiao.errors import DataError, Interrupted, RecipeError, RunError
from weitiao.inspection import trained_on
from weitiao.preparation import prepare
from weitiao.teaching import texts, with_teacher
from weitiao.teaching.texts import Said, blanks_before, fault_of

PLACES = ("room", "hotel", "film", "book", "service", "card")
WRONG = "nobody liked it"


def rows(*, wrong: bool = False, numbers: range = range(4)) -> list[dict[str, str]]:
    return [{"input": f"where is the {place} {number}", "target": WRONG if wrong else f"in the {place}"}
            for number in numbers for place in PLACES]  # fmt: skip


def written(path: Path, found: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


def values(data: Path, model: Path, output: Path, *, epochs: float = 2, **more: Any) -> dict[str, Any]:
    return {
        "task": {"name": "text2text-generation", "generation": {"max_new_tokens": 8}}, "model": {"source": str(model)},
        "output": str(output), "data": {"train": str(data), "validation_size": 0, "test_size": 0.25, "seed": 1},
        "training": {"epochs": epochs, "learning_rate": 1e-2, "batch_size": 6, "precision": "fp32", "seed": 3},
        "evaluation": {"bootstrap": 20}, **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has learned where things are."""
    folder = tmp_path_factory.mktemp("teacher")
    words = [text for row in rows() for text in row.values()]
    tiny.tiny_llama(folder / "model", [*words, WRONG], hidden_size=64, intermediate_size=128)
    data = written(folder / "right.jsonl", rows(numbers=range(10)))
    run = train(Recipe(**values(data, folder / "model", folder / "run", epochs=30)))
    assert run.score is not None
    assert run.score > 80  # chrF
    return run


@pytest.fixture
def student(teacher: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """The recipe of a student whose data say something else."""
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("weitiao.chats.endpoint.FIRST_WAIT", 0.01)

    def build(epochs: float = 2, **distillation: Any) -> dict[str, Any]:
        wanted = {"teacher": str(teacher.folder), "share": 1.0, **distillation}
        data = written(tmp_path / "wrong.jsonl", rows(wrong=True))
        found = values(data, teacher.folder.parent / "model", tmp_path / "run", epochs=epochs, distillation=wanted)
        found["model"]["layers"] = [0]
        return found

    return build


def learned(ready: Any) -> dict[str, str]:
    return dict(zip(ready.splits["train"]["input"], ready.splits["train"]["target"], strict=True))


def notes(ready: Any) -> str:
    return "\n".join(str(each) for each in ready.findings if "teacher wrote" in each.problem)


# --- a run as teacher


def test_a_student_writes_what_its_teacher_does_and_not_what_the_data_say(
    student: Callable[..., dict[str, Any]], teacher: Run
) -> None:
    run = train(Recipe(**student(epochs=25)))
    asked = [row["input"] for row in rows()]
    said = [each["text"] for each in load(run.folder).predict(asked)]
    right = [each["text"] for each in load(teacher.folder).predict(asked)]
    assert sum(one == other for one, other in zip(said, right, strict=True)) > 0.5 * len(asked)
    assert not [text for text in said if "nobody" in text]
    told = json.loads((run.folder / "report.json").read_text())
    assert any("the teacher wrote for 18 of 18 training examples" in each["problem"] for each in told["findings"])
    [beside] = told["teachers"]
    assert beside["parameters_here"] < beside["parameters_there"]
    assert trained_on(open_artifact(run.artifact)) is not None  # the data are what they were


def test_its_texts_are_written_once_and_what_was_stopped_goes_on(
    student: Callable[..., dict[str, Any]], teacher: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "ROWS", 5)
    ready = prepare(Recipe(**student()))
    asked: list[int] = []
    real = texts.ArtifactWriter._written

    def write(self: Any, examples: list[dict[str, Any]]) -> Any:
        if len(asked) == 2 and -1 not in asked:
            asked.append(-1)
            raise KeyboardInterrupt
        assert all(set(example) == {"input"} for example in examples)  # it is not shown what the data say
        asked.append(len(examples))
        return real(self, examples)

    monkeypatch.setattr(texts.ArtifactWriter, "_written", write)
    with pytest.raises(KeyboardInterrupt):
        with_teacher(ready)
    first = with_teacher(ready)
    assert asked == [5, 5, -1, 5, 3]
    known = {row: each["text"] for row, each in zip(
        learned(ready), load(teacher.folder).predict(list(learned(ready))), strict=True)}  # fmt: skip
    assert learned(first) == known
    monkeypatch.setattr(texts, "Predictor", lambda *_: pytest.fail("the teacher was loaded again"))
    again = with_teacher(ready)
    assert again.digest == first.digest != ready.digest
    assert learned(again) == learned(first)


def test_a_share_of_the_examples_is_the_teachers_and_all_that_measures_sees_the_datas_own(
    student: Callable[..., dict[str, Any]],
) -> None:
    ready = with_teacher(prepare(Recipe(**student(share=0.5))))
    found = list(learned(ready).values())
    assert found.count(WRONG) == 9
    assert set(ready.labelled("train").examples["target"]) == {WRONG}
    assert ready.splits.digest == prepare(Recipe(**student())).splits.digest
    decoded = ready.reader.tokenizer.decode([t for t in ready.features["train"][0]["labels"] if t >= 0])
    assert found[0] in decoded  # features are of what is learned


def test_a_run_that_was_stopped_goes_on_with_the_same_texts(
    student: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    pool = written(tmp_path / "pool.jsonl", [{"input": row["input"]} for row in rows(numbers=range(4, 8))])
    wanted = student(share=0.6, unlabelled=str(pool))
    whole = train(Recipe(**wanted))

    with pytest.raises(Interrupted):
        train(Recipe(**wanted | {"output": str(tmp_path / "cut")}), trackers=[Stopper(5)])
    again = resume(tmp_path / "cut")
    weights = [(run.artifact / "model.safetensors").read_bytes() for run in (whole, again)]
    assert weights[0] == weights[1]


# --- what is left out


@pytest.mark.parametrize(("said", "own", "least", "fault"), [
    (Said("in the room"), "in a room", None, ""),
    (Said(answered=False), "x", None, "not answered"),
    (Said("  "), "x", None, "empty"),
    (Said("in the", cut=True), "x", None, "cut at the most that is written"),
    (Said("the card " * 30), "x", None, "repeating themselves"),
    (Said("房间" * 40), "x", None, "repeating themselves"),
    (Said("in the room"), "in the room here", 0.5, ""),
    (Said("in the room"), "nobody liked it", 0.5, "less like the data's own than 0.5"),
    (Said("in the room"), None, 0.5, ""),
])  # fmt: skip
def test_texts_that_are_worth_nothing_are_not_learned(
    said: Said, own: str | None, least: float | None, fault: str
) -> None:
    assert fault_of(said, own, least) == fault


def test_where_a_text_is_dropped_the_datas_own_is_learned_and_it_is_told(
    student: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def say(self: Any, examples: list[Any]) -> Any:
        yield 1, Said("in the room")
        yield 0, Said("")
        for number in range(2, len(examples)):
            yield number, Said("in the", cut=number % 2 == 0)

    monkeypatch.setattr(texts.ArtifactWriter, "say", say)
    found = with_teacher(prepare(Recipe(**student())))
    said = list(learned(found).values())
    assert said[:4] == [WRONG, "in the room", WRONG, "in the"]
    assert "18 of 18 training examples; dropped: 8 cut at the most that is written, 1 empty" in notes(found)
    monkeypatch.setattr(texts.ArtifactWriter, "say", lambda *_: iter([(0, Said(""))]))
    with pytest.raises(RunError, match=r"none of the 18 texts .* 1 empty, 17 not answered"):
        with_teacher(prepare(Recipe(**student())))


# --- examples without a target


def test_the_teacher_answers_examples_that_have_no_target(
    student: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    new = rows(numbers=range(4, 8))
    pool = [{"id": "1", "input": row["input"]} for row in [*rows()[:3], *new, *new]] + [{"id": "2", "input": " "}]
    path = written(tmp_path / "pool.jsonl", pool)
    before = prepare(Recipe(**student(share=0.01)))
    ready = with_teacher(prepare(Recipe(**student(share=0.01, unlabelled=str(path)))))
    count = len(before.splits["train"])
    assert len(ready.labelled("train").rows) == count
    more = {text: said for text, said in learned(ready).items() if text in {row["input"] for row in new}}
    assert len(ready.splits["train"]) == count + len(more)
    assert len(more) > 12
    assert WRONG not in more.values()
    assert sum(said.startswith("in the") for said in more.values()) > 0.7 * len(more)
    told = "\n".join(map(str, ready.findings))
    assert "24 of 52 rows of pool.jsonl are used: 1 without text, 3 in the data already, 24 repeated" in told
    assert f"and 24 without a target, of which {len(more)} are learned" in told
    assert ready.recipe.training.evaluate_every == -(-len(ready.splits["train"]) // 6)  # an epoch of all of them
    assert ready.facts["steps"] == 2 * ready.recipe.training.evaluate_every


def test_a_file_without_the_column_or_without_new_texts_is_told(
    student: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    path = written(tmp_path / "pool.jsonl", [{"number": 3}, {"number": 4}])
    with pytest.raises(DataError, match=r"cannot tell which column of pool\.jsonl is the input"):
        check(Recipe(**student(unlabelled=str(path))))
    written(path, [{"input": row["input"]} for row in rows()])
    with pytest.raises(DataError, match=r"no row of pool\.jsonl is left"):
        check(Recipe(**student(unlabelled=str(path))))
    with pytest.raises(DataError, match=r"distillation\.unlabelled[\s\S]*nowhere\.jsonl"):
        check(Recipe(**student(unlabelled="nowhere.jsonl")))


# --- an endpoint as teacher


def place(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def answer(body: dict[str, Any]) -> Reply:
    return Reply("in the " + next(each for each in PLACES if each in place(body)))


def test_an_endpoint_that_delays_fails_limits_and_babbles_teaches_all_the_same(
    student: Callable[..., dict[str, Any]],
) -> None:
    bad, script = troubled(answer, delay=2.0)
    with serving(script) as server:
        endpoint = {"base_url": server.url, "model": "big", "together": 2, "timeout": 1.5, "retries": 2 * bad}
        wanted = student(teacher=endpoint, prompt="Say in three words: {input}")
        found = with_teacher(prepare(Recipe(**wanted)))
        assert all(said == f"in the {text.split()[3]}" for text, said in learned(found).items())
        assert len(server.bodies) == 18 + bad
        assert place(server.bodies[-1]).startswith("Say in three words: where is the ")
        assert server.bodies[-1]["temperature"] == 0
        assert found.facts["teachers"] == ["big"]
        again = with_teacher(prepare(Recipe(**wanted)))  # what was said is kept
        assert len(server.bodies) == 18 + bad
        assert again.digest == found.digest


def test_what_an_endpoint_refuses_or_cuts_is_dropped(student: Callable[..., dict[str, Any]]) -> None:
    def script(body: dict[str, Any], number: int) -> Reply:
        if "room" in place(body):
            return Reply("too long", 400)
        return Reply("in the", more={"finish_reason": "length"}) if "film" in place(body) else answer(body)

    with serving(script) as server:
        wanted = student(teacher={"base_url": server.url, "model": "big", "together": 1})
        found = with_teacher(prepare(Recipe(**wanted)))
        asked = learned(prepare(Recipe(**wanted)))
        cut, refused = (sum(word in text for text in asked) for word in ("film", "room"))
        told = notes(found)
        assert f"{cut} cut at the most that is written" in told
        assert f"{refused} not answered" in told
        assert all((said == WRONG) == ("room" in text or "film" in text) for text, said in learned(found).items())
        assert notes(with_teacher(prepare(Recipe(**wanted)))) == told  # a text that is kept is still a cut one


def test_an_endpoint_stops_before_it_costs_too_much_and_goes_on_where_it_was(
    student: Callable[..., dict[str, Any]],
) -> None:
    with serving(lambda body, number: answer(body)) as server:
        endpoint = {"base_url": server.url, "model": "big", "together": 1, "max_tokens": 50, "most_tokens": 200}
        with pytest.raises(RunError, match=r"answered (\d+) of 18 examples, then no more: the limit"):
            with_teacher(prepare(Recipe(**student(teacher=endpoint))))
        before = len(server.bodies)
        assert 0 < before < 18
        with_teacher(prepare(Recipe(**student(teacher=endpoint | {"most_tokens": 100_000}))))
        assert len(server.bodies) == 18
        assert len({place(body) for body in server.bodies}) == 18  # nothing was asked twice


def test_a_question_that_failed_stops_it_and_a_run_goes_on_with_the_answers_that_it_began_with(
    student: Callable[..., dict[str, Any]],
) -> None:
    asked = list(learned(prepare(Recipe(**student()))))
    broken, rejected, state = asked[3], asked[5], "bad"

    def script(body: dict[str, Any], number: int) -> Reply:
        if state == "bad" and broken in place(body):
            return Reply("broken", 500)
        return Reply("too long", 400) if state != "good" and rejected in place(body) else answer(body)

    with serving(script) as server:
        wanted = student(teacher={"base_url": server.url, "model": "big", "together": 1, "retries": 1})
        with pytest.raises(RunError, match="answered 16 of 18 examples; 1 failed at each try"):
            train(Recipe(**wanted))
        assert not Path(wanted["output"]).exists()
        state = "better"
        with pytest.raises(Interrupted):
            train(Recipe(**wanted), trackers=[Stopper(4)])
        state, before = "good", len(server.bodies)
        assert resume(wanted["output"]).status == "finished"
        assert len(server.bodies) == before


def test_what_most_texts_begin_with_is_put_before_an_answer(
    student: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    data = [{"text": row["input"], "completion": f" {row['target']}"} for row in rows(wrong=True)]
    with serving(lambda body, number: answer(body)) as server:
        wanted = student(teacher={"base_url": server.url, "model": "big"})
        wanted["data"]["train"] = str(written(tmp_path / "completions.jsonl", data))
        wanted["task"] = {"name": "text-generation", "generation": {"max_new_tokens": 8}}
        ready = prepare(Recipe(**wanted))
        assert ready.task.options.separator == ""  # type: ignore[attr-defined]
        found = with_teacher(ready).splits["train"]
    for text, completion in zip(found["text"], found["completion"], strict=True):
        assert completion == f" in the {text.split()[3]}"


@pytest.mark.parametrize(("own", "wanted"), [
    ([], ""),
    (["a", "b", " c"], ""),
    (["a", " b"], ""),
    ([" a", " b", "\n c", "d", "e"], " "),
    (["\n    a", "\n    b", " c"], "\n    "),
])  # fmt: skip
def test_the_blanks_before_most_texts(own: list[str], wanted: str) -> None:
    assert blanks_before(own) == wanted


def test_check_asks_no_teacher(student: Callable[..., dict[str, Any]]) -> None:
    with serving(lambda body, number: answer(body)) as server:
        found = check(Recipe(**student(teacher={"base_url": server.url, "model": "big"})))
        assert server.bodies == []
    assert "forecast" in found.facts
    assert any("not in the forecast" in each.problem for each in found.findings)


# --- a chat model as teacher


def test_a_pretrained_model_is_asked_in_words_and_loaded_when_it_first_is(
    student: Callable[..., dict[str, Any]], teacher: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = prepare(Recipe(**student(teacher=str(teacher.folder.parent / "model"))))
    writer: Any = texts._teacher(ready, ready.task, [])
    said = dict(writer.say([{"input": "where is the room"}, {"input": "where is the card"}]))
    assert sorted(said) == [0, 1]
    assert isinstance(writer, texts.ChatWriter)
    assert writer.identity["generation"]["max_new_tokens"] == 8  # as long as the student's
    monkeypatch.setattr("weitiao.models.load_model", lambda *_, **__: pytest.fail("it was loaded, and all is kept"))
    again: Any = texts._teacher(ready, ready.task, [])
    assert dict(again.say([{"input": "where is the room"}, {"input": "where is the card"}])) == said


def test_a_recipe_that_was_written_out_can_be_taken_again(
    student: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """With a temperature in it, the usual one, which counts for nothing here."""
    again = tmp_path / "again.yaml"
    again.write_text(prepare(Recipe(**student())).recipe.to_yaml())
    assert check(Recipe.read(again), forecast=False).recipe.distillation is not None


# --- what does not go together


@pytest.mark.parametrize(("change", "told"), [
    ({"teacher": "nowhere"}, "nowhere"),
    ({"teacher": ["one", "two"]}, "2 teachers would write as many texts"),
    ({"temperature": 3.0}, r"no probabilities of the teacher are learned[\s\S]*level: token"),
    ({"teacher": ""}, r"distillation\.teacher"),
    ({"unlabelled": ""}, r"distillation\.unlabelled"),
    ({"prompt": "Say it: {text}"}, "text.*no role of the task"),
    ({"prompt": "Say it: {input}"}, "has learned what it is asked"),
    ({"least_similarity": 1.5}, "least_similarity"),
    ({"teacher": {"base_url": "http://x/v1"}}, "model"),
    ({"teacher": {"base_url": "http://x/v1", "model": "m", "key": "NO_SUCH_KEY"}}, "NO_SUCH_KEY is not set"),
])  # fmt: skip
def test_what_does_not_go_together_is_told(
    change: dict[str, Any], told: str, student: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(RecipeError, match=told):
        check(Recipe(**student(**change)), forecast=False)
