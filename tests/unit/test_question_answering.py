"""Extractive question answering: answers found in contexts, windows, labels, loss, the best span, what is told."""

from __future__ import annotations

import contextlib
import io
import json
import os
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tests.tiny import tiny_bert, tiny_llama
from weitiao.errors import DataError, RecipeError
from weitiao.records import FILE, LINE, Batch, Pretrained, Reader
from weitiao.tasks.answers import Answer, find, right_answers
from weitiao.tasks.question_answering import AnswerRule, QuestionAnswering, QuestionAnsweringOptions

CONTEXT = "Ada Lovelace was born in London on 10 December 1815. Her teacher was Mary Somerville, and London was home."
CHINESE = "王小明1998年出生于杭州市，后来在北京大学学习数学。"


# --- answers as files write them


@pytest.mark.parametrize(
    ("answers", "starts", "right"),
    [
        (["London", "in London"], ["25", "22"], [Answer("London", 25), Answer("in London", 22)]),
        ("London", "25", [Answer("London", 25)]),
        ("London", None, [Answer("London")]),
        ("", "", []),
        (None, None, []),
        ([], [], []),
        ("12", "3", [Answer("12", 3)]),
        (["London"], ["-1"], [Answer("London")]),
        (["London"], ["25.0"], [Answer("London", 25)]),
        ('{"text": ["London"], "answer_start": [25]}', None, [Answer("London", 25)]),
        ({"text": ["London"], "answer_start": [25]}, None, [Answer("London", 25)]),
        ('{"text": [], "answer_start": []}', None, []),
        ('[{"text": "London", "answer_start": 25}, {"text": "home"}]', None, [Answer("London", 25), Answer("home")]),
        ("[sic] London", None, [Answer("[sic] London")]),
        ("{London}", "4", [Answer("{London}", 4)]),
    ],
)
def test_answers_are_read_in_every_form(answers: Any, starts: Any, right: list[Answer]) -> None:
    assert right_answers({"answers": answers, "answer_starts": starts}) == right


@pytest.mark.parametrize(
    ("answers", "starts", "field"),
    [
        (["London", "home"], ["25"], "answer_starts"),
        (["London"], ["twenty"], "answer_starts"),
        (["London"], ["2.5"], "answer_starts"),
        (["London"], ["inf"], "answer_starts"),
        ('[{"answer_start": 25}]', None, "answers"),
        ('{"text": [["London"]]}', None, "answers"),
    ],
)
def test_a_broken_answer_names_row_and_field(answers: Any, starts: Any, field: str) -> None:
    with pytest.raises(DataError, match=field) as caught:
        right_answers({"answers": answers, "answer_starts": starts, FILE: "q.jsonl", LINE: 7})
    assert caught.value.where == "q.jsonl:7"


@pytest.mark.parametrize(
    ("answer", "found", "how"),
    [
        (Answer("London", 25), "London", "there"),
        (Answer(" London", 24), "London", "there"),
        (Answer("London ", 25), "London", "there"),
        (Answer("London", 27), "London", "moved"),
        (Answer("London", 84), "London", "moved"),
        (Answer("Mary Somerville"), "Mary Somerville", "found"),
        (Answer("London"), "London", "first"),
        (Answer("LONDON  on 10 december", 3), "London on 10 December", "moved"),
        (Answer("was"), "was", "first"),
        (Answer("Her", 1000), "Her", "moved"),
    ],
)
def test_an_answer_is_found(answer: Answer, found: str, how: str) -> None:
    place = find(CONTEXT, answer)
    assert (CONTEXT[place.start : place.end], place.how) == (found, how)


def test_the_nearest_of_several_is_taken() -> None:
    first, second = CONTEXT.index("London"), CONTEXT.rindex("London")
    assert find(CONTEXT, Answer("London", first + 3)).start == first
    assert find(CONTEXT, Answer("London", second - 3)).start == second


def test_whole_words_come_before_parts_of_words() -> None:
    context = "The other theme: he came."
    assert find(context, Answer("he")).start == context.index("he came")
    assert find("杭州市和杭州", Answer("杭州")).start == 0  # a script without spaces has no such words


def test_what_is_not_there_is_said() -> None:
    assert find(CONTEXT, Answer("Paris", 3)).how == "nowhere"
    far = "x" * 200
    place = find(f"home {far} home {far}", Answer("home", 100))
    assert (place.how, place.known) == ("elsewhere", False)


SHARED = Path(__file__).parents[3] / "shared/data"


@pytest.mark.parametrize(
    ("name", "moved"),
    [("xquad/xquad.en.json", 0), ("xquad/xquad.zh.json", 0), ("cmrc2018/cmrc2018_trial.json", 5)],
)
def test_answers_of_real_files_are_found(name: str, moved: int) -> None:
    from weitiao.data.formats.squad import Squad

    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not there")
    places = [find(row["context"], answer) for _, row in Squad.read(SHARED / name) for answer in right_answers(row)]
    assert [place.how for place in places].count("moved") == moved
    assert {place.how for place in places} <= {"there", "moved"}


# --- windows and labels


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("qa") / "bert", [CONTEXT, CHINESE, "where was she born ?"],
                     initializer_range=0.3)  # fmt: skip


def opened(folder: Path) -> Pretrained:
    from weitiao.models import open_pretrained
    from weitiao.recipe import ModelSettings

    return open_pretrained(ModelSettings(source=str(folder)), base=Path())


@pytest.fixture(scope="module")
def pretrained(model_folder: Path) -> Pretrained:
    return opened(model_folder)


def task(longest: int = 5, *, unanswerable: bool = False, threshold: float = 0.5, **values: Any) -> QuestionAnswering:
    options = QuestionAnsweringOptions(**{"stride": 8, **values})
    return QuestionAnswering(options, AnswerRule(longest=longest, unanswerable=unanswerable, threshold=threshold))


def features_of(encoded: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]


def words_at(feature: dict[str, Any], first: int, last: int) -> str:
    found: str = feature["text"][feature["starts"][first] : feature["ends"][last]]
    return found


def encode(pretrained: Pretrained, max_length: int, made: QuestionAnswering, **example: Any) -> list[dict[str, Any]]:
    return features_of(made.encode({name: [value] for name, value in example.items()}, pretrained.reader(max_length)))


def test_windows_cover_the_context_and_overlap(pretrained: Pretrained) -> None:
    found = encode(pretrained, 24, task(), question="where was she born ?", context=CONTEXT)
    ids = pretrained.tokenizer("where was she born ?", CONTEXT)["input_ids"]
    assert len(found) > 1
    assert all(len(window["input_ids"]) <= 24 for window in found)
    assert {window["full_length"] for window in found} == {len(ids)}
    covered = {window["begins"] + at for window in found for s, e in zip(window["starts"], window["ends"], strict=True)
               for at in range(s, e) if s >= 0}  # fmt: skip
    assert covered == {at for at, letter in enumerate(CONTEXT) if not letter.isspace()}
    for before, after in pairwise(found):
        shared = range(after["begins"], before["begins"] + len(before["text"]))
        assert sum(start >= 0 and after["begins"] + start in shared for start in after["starts"]) == 8
    for window in found:
        assert CONTEXT[window["begins"] :].startswith(window["text"])


def test_a_short_context_is_one_window(pretrained: Pretrained) -> None:
    found = encode(pretrained, 64, task(), question="where was she born ?", context=CONTEXT)
    assert [window["input_ids"] for window in found] == [
        pretrained.tokenizer("where was she born ?", CONTEXT)["input_ids"]
    ]


def test_windows_share_at_least_the_longest_answer_and_at_most_half(pretrained: Pretrained) -> None:
    def shared(made: QuestionAnswering, max_length: int) -> int:
        one, two, *_ = encode(pretrained, max_length, made, question="where ?", context=CONTEXT * 3)
        end = one["begins"] + len(one["text"])
        return sum(start >= 0 and two["begins"] + start < end for start in two["starts"])

    assert shared(task(longest=11, stride=0), 32) == 11
    assert shared(task(longest=30, stride=100), 32) == (32 - 5) // 2  # two words, three special tokens


@pytest.mark.parametrize("max_length", [16, 20, 24, 40, 64])
def test_an_answer_is_learned_where_it_stands_whole_and_nowhere_else(pretrained: Pretrained, max_length: int) -> None:
    for answer in ("London", "Mary Somerville", "Ada Lovelace", "home"):
        start = CONTEXT.index(answer)
        found = encode(pretrained, max_length, task(longest=3), question="where ?", context=CONTEXT, answers=[answer],
                       answer_starts=[str(start)])  # fmt: skip
        whole = 0
        for window in found:
            first, last = window["labels"]
            stop = start + len(answer)
            inside = window["begins"] <= start and stop <= window["begins"] + len(window["text"])
            apart = stop <= window["begins"] or start >= window["begins"] + len(window["text"])
            if inside:
                assert words_at(window, first, last) == answer
                assert window["begins"] + window["starts"][first] == start  # the second London is not the first
                whole += 1
            else:
                assert [first, last] == ([0, 0] if apart else [-100, -100])
        assert whole


def test_no_answer_is_learned_as_the_first_token_of_every_window(pretrained: Pretrained) -> None:
    found = encode(pretrained, 24, task(unanswerable=True), question="where ?", context=CONTEXT, answers=[])
    assert {tuple(window["labels"]) for window in found} == {(0, 0)}
    assert found[0]["input_ids"][0] == pretrained.tokenizer.cls_token_id


def test_nothing_is_learned_from_an_answer_that_is_not_there(pretrained: Pretrained) -> None:
    found = encode(pretrained, 24, task(), question="where ?", context=CONTEXT, answers=["Paris"])
    assert {tuple(window["labels"]) for window in found} == {(-100, -100)}
    batch = task().collate([{**window, "row": 0} for window in found], pretrained.reader(24))
    assert batch.targets == 0


def test_chinese_answers_are_exact_characters(pretrained: Pretrained) -> None:
    for answer in ("杭州", "杭州市", "北京大学", "数学"):
        [window] = encode(pretrained, 64, task(), question="哪里 ?", context=CHINESE, answers=[answer])
        assert words_at(window, *window["labels"]) == answer


def test_characters_are_right_for_tokens_that_hold_spaces(tmp_path: Path) -> None:
    """Byte-level tokens begin with the space before them, and Chinese characters are cut into several."""
    reader = opened(tiny_llama(tmp_path / "bytes", [CONTEXT])).reader(64)
    context = "  Ada   lived in\tLondon，然后在北京。 "
    for answer in ("lived", "London", "北京", "Ada"):
        encoded = task().encode({"question": ["where"], "context": [context], "answers": [answer]}, reader)
        [window] = features_of(encoded)
        assert words_at(window, *window["labels"]) == answer


def test_a_question_of_over_half_the_window_has_no_features(pretrained: Pretrained) -> None:
    examples = {"question": ["where ?", "where was she born " * 5, "when"], "context": [CONTEXT] * 3}
    encoded = task().encode(examples, pretrained.reader(24))
    assert set(encoded["row"]) == {0, 2}
    assert encoded["row"] == sorted(encoded["row"])
    assert task().encode({"question": [], "context": []}, pretrained.reader(24))["input_ids"] == []


def test_special_tokens_written_in_texts_are_letters(pretrained: Pretrained) -> None:
    [window] = encode(pretrained, 64, task(), question="where [SEP] ?", context="in [SEP] London [CLS]")
    special = (pretrained.tokenizer.sep_token_id, pretrained.tokenizer.cls_token_id)
    assert [window["input_ids"].count(token) for token in special] == [2, 1]


# --- loss


def batch_of(pretrained: Pretrained, *rows: tuple[str, str, Any], max_length: int = 64) -> Batch:
    made, reader = task(unanswerable=True), pretrained.reader(max_length)
    questions, contexts, answers = (list(column) for column in zip(*rows, strict=True))
    encoded = made.encode({"question": questions, "context": contexts, "answers": answers}, reader)
    return made.collate(features_of(encoded), reader)


def test_the_loss_is_the_mean_of_start_and_end_summed_over_windows(pretrained: Pretrained) -> None:
    batch = batch_of(pretrained, ("where ?", CONTEXT, ["Her teacher was Mary"]), ("who ?", "Mary was home", ["home"]),
                     ("who ?", CONTEXT, []), max_length=18)  # fmt: skip
    torch.manual_seed(1)
    start, end = torch.randn(2, *batch.inputs["input_ids"].shape)
    assert batch.labels is not None
    learned = [row for row, labels in enumerate(batch.labels.tolist()) if labels[0] >= 0]
    assert batch.targets == len(learned) < len(batch.labels)  # a window with half the answer teaches nothing
    wanted = 0.0
    for row in learned:
        size = int(batch.inputs["attention_mask"][row].sum())  # padding takes no part
        for logits, label in ((start, batch.labels[row, 0]), (end, batch.labels[row, 1])):
            wanted += float(functional.cross_entropy(logits[row, :size], label)) / 2
    loss = task().loss(SimpleNamespace(start_logits=start, end_logits=end), batch)
    assert float(loss) == pytest.approx(wanted, rel=1e-5)


# --- the best span


class Answers(torch.nn.Module):
    """Gives the logits it was made with, row by row, and counts the forwards."""

    def __init__(self, start: torch.Tensor, end: torch.Tensor) -> None:
        super().__init__()
        self.start, self.end, self.sizes = start, end, list[int]()

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        at = sum(self.sizes)
        self.sizes.append(len(input_ids))
        rows = slice(at, at + len(input_ids))
        return SimpleNamespace(start_logits=self.start[rows], end_logits=self.end[rows])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), longest=st.integers(1, 12), max_length=st.sampled_from([20, 28, 64]))
def test_the_best_piece_is_that_of_trying_all(pretrained: Pretrained, seed: int, longest: int, max_length: int) -> None:
    made, reader = task(longest, unanswerable=True, threshold=1.0), pretrained.reader(max_length)
    encoded = made.encode({"question": ["where ?", "who"], "context": [CONTEXT, "Mary Somerville"]}, reader)
    batch = made.collate(features_of(encoded), reader)
    torch.manual_seed(seed)
    start, end = 3 * torch.randn(2, *batch.inputs["input_ids"].shape)
    predictions = made.predict(Answers(start, end), batch, reader)
    mask = batch.inputs["attention_mask"] == 0
    p_start, p_end = (logits.masked_fill(mask, -1e9).softmax(-1).tolist() for logits in (start, end))
    for row, (prediction, context) in enumerate(zip(predictions, (CONTEXT, "Mary Somerville"), strict=True)):
        best, none = (-1.0, 0, 0), 1.0
        for w, window in enumerate(batch.features):
            if window["row"] != row:
                continue
            none = min(none, p_start[w][0] * p_end[w][0])
            inside = [at for at, begins in enumerate(window["starts"]) if begins >= 0]
            for i in inside:
                for j in [j for j in inside if i <= j < i + longest]:
                    span = (window["begins"] + window["starts"][i], window["begins"] + window["ends"][j])
                    best = max(best, (p_start[w][i] * p_end[w][j], *span))
        assert prediction["score"] == pytest.approx(best[0], rel=1e-4)
        assert prediction["answer"] == context[prediction["start"] : prediction["end"]]
        assert (prediction["start"], prediction["end"]) == best[1:]
        assert prediction["no_answer"] == pytest.approx(none / (none + best[0]), rel=1e-3)


def test_a_long_context_is_run_in_parts(pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weitiao.tasks.question_answering.TOKENS", 100)
    made, reader = task(), pretrained.reader(24)
    encoded = made.encode({"question": ["where ?"], "context": [CONTEXT * 8]}, reader)
    batch = made.collate(features_of(encoded), reader)
    logits = torch.zeros(batch.inputs["input_ids"].shape)
    peak = len(batch.rows) - 2  # in one of the last parts
    first = next(at for at, start in enumerate(batch.features[peak]["starts"]) if start >= 0)
    logits[peak, first] = 9.0
    model = Answers(logits, logits)
    [prediction] = made.predict(model, batch, reader)
    assert max(model.sizes) == 4
    assert sum(model.sizes) == len(batch.rows)
    window = batch.features[peak]
    assert prediction["start"] == window["begins"] + window["starts"][first]


def test_no_answer_over_the_threshold(pretrained: Pretrained) -> None:
    reader = pretrained.reader(64)
    encoded = task().encode({"question": ["who ?"], "context": ["Mary Somerville"]}, reader)
    batch = task().collate(features_of(encoded), reader)
    logits = torch.zeros(batch.inputs["input_ids"].shape)
    logits[0, 0] = 1.0
    sure = task(unanswerable=True, threshold=0.9).predict(Answers(logits, logits), batch, reader)[0]
    shy = task(unanswerable=True, threshold=0.5).predict(Answers(logits, logits), batch, reader)[0]
    never = task(threshold=0.5).predict(Answers(logits, logits), batch, reader)[0]
    assert 0.5 < sure["no_answer"] < 0.9
    assert sure["answer"] == shy["best_answer"] == never["answer"] != ""
    assert (shy["answer"], shy["start"], shy["end"], shy["score"]) == ("", None, None, shy["no_answer"])
    assert "best_answer" not in never


def test_a_context_without_a_token_has_no_answer(pretrained: Pretrained) -> None:
    reader = pretrained.reader(64)
    encoded = task().encode({"question": ["who ?"], "context": ["\u200b"]}, reader)
    batch = task().collate(features_of(encoded), reader)
    if batch.features[0]["text"]:
        pytest.skip("this tokenizer reads it")
    logits = torch.zeros(batch.inputs["input_ids"].shape)
    [prediction] = task().predict(Answers(logits, logits), batch, reader)
    assert (prediction["answer"], prediction["start"], prediction["no_answer"]) == ("", None, 1.0)


# --- what is told before training, and a whole run


def rows(count: int = 12, **last: Any) -> list[dict[str, Any]]:
    made = []
    for number in range(count):
        context = f"{CONTEXT} It was house {number}."
        made.append({"question": "where was she born ?", "context": context, "answers": ["London"],
                     "answer_starts": [context.index("London")]})  # fmt: skip
    return [*made[:-1], {**made[-1], **last}]


def prepared(tmp_path: Path, folder: Path, train: list[dict[str, Any]], **changes: Any) -> Any:
    from weitiao.preparation import prepare
    from weitiao.recipe import Recipe

    return prepare(Recipe(**recipe(tmp_path, folder, train, **changes)))


def recipe(tmp_path: Path, folder: Path, train: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    data = {"train": write(tmp_path / "train.jsonl", train), "validation_size": 0, "test_size": 0}
    return {
        "task": {"name": "question-answering", **changes.pop("task", {})}, "model": str(folder),
        "data": {**data, **changes.pop("data", {})}, "training": {"epochs": 1, "batch_size": 4},
        "output": str(tmp_path / "run"), **changes,
    }  # fmt: skip


def write(path: Path, made: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), encoding="utf-8")
    return str(path)


def told(ready: Any) -> str:
    return "\n".join(f"{finding.level} {finding}" for finding in ready.findings)


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"answers": ["Paris"]}, r"train.jsonl:12: answers: 'Paris' does not stand in the context"),
        ({"answers": ["London", "home"]}, r"train.jsonl:12: 'answer_starts' has 1 numbers for 2 answers"),
        ({"answer_starts": [2.5]}, r"train.jsonl:12: 'answer_starts' holds '2.5', not a whole number"),
        ({"context": "home " + "x " * 80 + "home " + "x " * 80, "answers": ["home"], "answer_starts": [90]},
         r"train.jsonl:12: answer_starts: 'home' does not stand at character 90 or near it, and more than once"),
        ({"question": " "}, r"train.jsonl:12: 1 row with an empty question"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named(tmp_path: Path, model_folder: Path, last: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        prepared(tmp_path, model_folder, rows(**last))


def test_rows_with_misplaced_answers_can_be_ignored(tmp_path: Path, model_folder: Path) -> None:
    ready = prepared(tmp_path, model_folder, rows(answers=["Paris"]), task={"misplaced": "ignore"})
    assert "train.jsonl:12: 1 answer does not stand in its context: nothing is learned from it" in told(ready)


def test_moved_first_and_widened_answers_are_counted(tmp_path: Path, model_folder: Path) -> None:
    moved = prepared(tmp_path, model_folder, rows(answer_starts=[29]))
    assert "note data.train train.jsonl:12: 1 answer does not stand at its offset" in told(moved)
    first = prepared(tmp_path, model_folder, rows(answer_starts=[-1]))
    assert "train.jsonl:12: 1 answer comes without an offset and stands more than once" in told(first)
    widened = prepared(tmp_path, model_folder, rows(answers=["Lond"], answer_starts=[25]))
    assert "train.jsonl:12: 1 answer begins or ends inside a token" in told(widened)


def test_all_that_is_learned_of_the_data(tmp_path: Path, model_folder: Path) -> None:
    ready = prepared(tmp_path, model_folder, rows(answers=["Mary Somerville, and London"], answer_starts=[69]))
    assert ready.task.known.longest == 5
    assert not ready.task.known.unanswerable
    assert ready.recipe.task.options.max_answer_length == 5
    none = prepared(tmp_path, model_folder, rows(answers=[], answer_starts=[]))
    assert none.task.known.unanswerable
    with pytest.raises(RecipeError, match="1 question of training has no answer"):
        prepared(tmp_path, model_folder, rows(answers=[], answer_starts=[]), task={"unanswerable": False})
    empty = [{**row, "answers": [], "answer_starts": []} for row in rows()]
    with pytest.raises(DataError, match="no question has an answer"):
        prepared(tmp_path, model_folder, empty)
    with pytest.raises(DataError, match="is the answers"):
        prepared(tmp_path, model_folder, [{"question": r["question"], "context": r["context"]} for r in rows()])


def test_contexts_that_splits_share_are_told(tmp_path: Path, model_folder: Path) -> None:
    test = [{**row, "question": "who was her teacher ?", "answers": [], "answer_starts": []} for row in rows(5)]
    data = {"test": write(tmp_path / "test.jsonl", test)}
    found = told(prepared(tmp_path, model_folder, rows(), data=data))
    assert "5 of 5 questions are about a context that training has, too" in found
    assert "5 questions of test have no answer, but none of training" in found


def test_answers_too_long_for_windows_or_the_option_are_told(tmp_path: Path, model_folder: Path) -> None:
    answer = CONTEXT[: CONTEXT.index("Her")]
    long = rows(context=CONTEXT * 6, answers=[CONTEXT * 2], answer_starts=[0])
    assert "train.jsonl:12: 1 answer is longer than what neighbouring" in told(prepared(tmp_path, model_folder, long))
    short = prepared(tmp_path, model_folder, rows(answers=[answer], answer_starts=[0]), task={"max_answer_length": 2})
    assert "1 answer of training has more than 2 tokens" in told(short)


def test_csv_with_flat_columns(tmp_path: Path, model_folder: Path) -> None:
    lines = [f'where was she born ?,"{CONTEXT} House {n}.",London,25' for n in range(12)]
    lines += [f'when did she die ?,"{CONTEXT} House {n}.",,' for n in range(3)]
    path = tmp_path / "flat.csv"
    path.write_text("question,context,answer,answer_start\n" + "\n".join(lines) + "\n")
    ready = prepared(tmp_path, model_folder, rows(), data={"train": str(path)})
    assert ready.recipe.data.columns["answers"] == "answer"
    assert ready.task.known.unanswerable


def test_a_run_with_unanswerable_questions(tmp_path: Path, model_folder: Path) -> None:
    """Trained, tuned, measured beside the baseline, saved; the card's lines for plain transformers agree."""
    from weitiao import load, train
    from weitiao.recipe import Recipe

    asked = rows(16)
    none = [{"question": "who was king ?", "context": row["context"], "answers": [], "answer_starts": []}
            for row in rows(16)]  # fmt: skip
    data = {"validation": write(tmp_path / "held.jsonl", asked[:4] + none[:4]), "duplicates": "anywhere"}
    values = recipe(tmp_path, model_folder, asked + none, data=data, evaluation={"bootstrap": 20})
    values["training"] = {"epochs": 12, "batch_size": 8, "learning_rate": 3e-3, "warmup": 0}
    run = train(Recipe(**values))
    scores = json.loads((run.folder / "scores.json").read_text())["validation"]
    assert scores["scores"]["values"]["f1"]["value"] > 0.9
    assert scores["scores"]["values"]["no_answer_f1"]["value"] > 0.9
    assert "best-matching sentence" in scores["baselines"]
    predictor = load(run.artifact)
    examples = [{"question": row["question"], "context": row["context"] * 3} for row in (asked[0], none[0])]
    here = predictor.predict(examples)
    assert predictor.artifact.task.prepared.threshold != 0.5
    for example, prediction in zip(examples, here, strict=True):
        assert plainly(run.artifact, predictor.artifact.task.usage("encoder"), example) == prediction["answer"]
    with pytest.raises(DataError, match="example 2 does not fit into 64 tokens"):
        predictor.predict([examples[0], {"question": "where " * 60, "context": CONTEXT}])


def plainly(folder: Path, usage: str, example: dict[str, str]) -> str:
    """Run the card's lines in the artifact's folder on one example."""
    given = next(line for line in usage.splitlines() if line.startswith("question, context = "))
    lines = usage.replace(given, f"question, context = {example['question']!r}, {example['context']!r}")
    printed, before = io.StringIO(), Path.cwd()
    try:
        os.chdir(folder)
        with contextlib.redirect_stdout(printed):
            exec(compile(lines, "card", "exec"), {})
    finally:
        os.chdir(before)
    return printed.getvalue().rstrip("\n")


def test_a_batch_holds_all_windows_of_an_example(pretrained: Pretrained) -> None:
    reader: Reader = pretrained.reader(24)
    made = task()
    encoded = made.encode({"question": ["where ?"] * 3, "context": [CONTEXT, "Mary", CONTEXT * 2]}, reader)
    batch = made.collate(features_of(encoded), reader)
    logits = torch.zeros(batch.inputs["input_ids"].shape)
    assert len(made.predict(Answers(logits, logits), batch, reader)) == 3


def test_lora_reads_all_inputs_in_training_that_the_merged_model_reads(pretrained: Pretrained) -> None:
    """PEFT's own wrapper for question answering drops the token types."""
    from weitiao.methods.lora import Lora, LoraOptions
    from weitiao.models import load_model

    lora = Lora(LoraOptions())
    model = lora.apply(load_model(pretrained, task().head("encoder"), seed=1)).eval()
    inputs = pretrained.tokenizer("where was she born ?", CONTEXT, return_tensors="pt")
    assert inputs["token_type_ids"].any()
    with torch.inference_mode():
        before = model(**inputs).start_logits.clone()
        after = lora.merge(model)(**inputs).start_logits
    torch.testing.assert_close(before, after)


# --- the baseline


def test_sentences_are_cut_in_both_scripts() -> None:
    from weitiao.evaluation.baselines.spans import LONGEST_SENTENCE, sentences

    def cut(text: str) -> list[str]:
        return [text[start:end] for start, end in sentences(text)]

    assert cut(" One is here. Two, said “he.” And three!\nFour ") == [
        "One is here.", "Two, said “he.”", "And three!", "Four",
    ]  # fmt: skip
    assert cut("他说：“好。”然后走了。后来呢？") == ["他说：“好。”", "然后走了。", "后来呢？"]
    assert cut("  ") == []
    long = cut("word " * 300)
    assert all(len(part) <= LONGEST_SENTENCE and not part.startswith(" ") for part in long)
    assert sum(part.count("word") for part in long) == 300


def test_the_baseline_takes_the_nearest_sentence(tmp_path: Path, model_folder: Path) -> None:
    from weitiao.evaluation.baselines.spans import BestSentence

    asked = rows(4) + [
        {"question": "who was her teacher ?", "context": f"{CONTEXT} Nr {n}.", "answers": ["Mary Somerville"],
         "answer_starts": [69]} for n in range(4)
    ] + [{"question": "zebra ?", "context": f"{CONTEXT} No {n}.", "answers": [], "answer_starts": []}
         for n in range(4)]  # fmt: skip
    ready = prepared(tmp_path, model_folder, asked, data={"validation": write(tmp_path / "v.jsonl", asked),
                                                          "duplicates": "anywhere"})  # fmt: skip
    baseline = BestSentence(ready.task)
    on = ready.labelled("train")
    baseline.fit({"train": on, "validation": ready.labelled("validation")}, lambda: pytest.fail("not needed"))
    found = list(baseline.predict(on))
    assert found[0]["answer"].startswith("Ada Lovelace was born")
    assert found[4]["answer"].startswith("Her teacher was")
    assert [prediction["answer"] for prediction in found[8:]] == [""] * 4
    scorer = ready.task.scorer()
    scorer.add([example for chunk in on.chunks() for example in chunk], found)
    assert scorer.compute()["no_answer_f1"] == 1.0


def test_windows_are_judged_by_the_recipes_length(tmp_path: Path, model_folder: Path) -> None:
    """An answer that no window of 24 tokens need hold whole; the model itself would read context and all at once."""
    words = " ".join(["the room was great and the staff was kind"] * 2)
    rows = [{"question": "what was great", "context": words, "answers": [words[:60]], "answer_starts": [0]}] * 4
    long, short = (
        told(prepared(tmp_path, model_folder, rows, model={"source": str(model_folder), "max_length": length}))
        for length in (64, 24)
    )
    said = "longer than what neighbouring windows of the context share"
    assert (said in long, said in short) == (False, True)
