"""Raw completion: whole texts, prompts with completions, programs with tests; what columns decide, and bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from tests import tiny
from weitiao import load, models, train
from weitiao.data import open_splits
from weitiao.errors import DataError, RecipeError
from weitiao.preparation import prepare
from weitiao.recipe import DataSettings, ModelSettings, Recipe
from weitiao.records import FILE, LINE, Pretrained, Reader
from weitiao.tasks import text_generation
from weitiao.tasks.text_generation import TextForm, TextGeneration, TextGenerationOptions

QUESTIONS: dict[str, list[Any]] = {
    "text": ["where is the room", "was it good"],
    "completion": ["it is great", "not at all"],
}
PROGRAMS: dict[str, list[Any]] = {
    "text": ["Add two numbers.", "Halve a number."],
    "completion": ["def add(a, b):\r\n    return a + b", "def half(a):\r\n    return a / 2"],
    "tests": [["assert add(1, 2) == 3", "assert add(0, 0) == 0"], '["assert half(4) == 2"]'],
    "setup": ["", "import math"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tiny.tiny_llama(tmp_path_factory.mktemp("models") / "llama", max_position_embeddings=160)
    settings = made / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "model_max_length": 160}))
    return made


@pytest.fixture
def opened(folder: Path) -> Callable[..., tuple[TextGeneration, Pretrained]]:
    """Columns, options -> the prepared task and its model."""

    def build(columns: dict[str, list[Any]], **options: Any) -> tuple[TextGeneration, Pretrained]:
        pretrained = models.open_pretrained(ModelSettings(source=str(folder)), base=Path())
        texts = {role: [v if isinstance(v, str) else json.dumps(v) for v in values] for role, values in columns.items()}
        task = TextGeneration(TextGenerationOptions.model_validate(options))
        return task.prepare({"train": Dataset.from_dict(texts)}, pretrained)[0], pretrained

    return build


def placed(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Columns as a table has them."""
    count = len(columns["text"])
    return {**columns, LINE: list(range(1, count + 1)), FILE: ["rows.jsonl"] * count}


def features(encoded: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]


def learned(feature: dict[str, Any], reader: Reader) -> str:
    return str(reader.tokenizer.decode([label for label in feature["labels"] if label != -100]))


def model_of(pretrained: Pretrained, task: TextGeneration) -> torch.nn.Module:
    return models.load_model(pretrained, task.head("decoder"), seed=0).eval()


# --- what is learned


def test_a_text_alone_is_learned_whole(opened: Any) -> None:
    columns: dict[str, list[Any]] = {"text": ["the room was great", "a bad\r\nbook"]}
    task, pretrained = opened(columns)
    reader = pretrained.reader(160)
    found = features(task.encode(placed(columns), reader))
    assert [learned(f, reader) for f in found] == ["the room was great</s>", "a bad\nbook</s>"]
    assert [f["prompt"] for f in found] == [[], []]


def test_a_long_text_is_cut_into_blocks_and_each_token_learned_once(opened: Any) -> None:
    columns = {"text": ["the room was great but small " * 9]}
    task, pretrained = opened(columns)
    reader = pretrained.reader(16)
    found = features(task.encode(placed(columns), reader))
    assert len(found) > 2
    assert all(len(f["input_ids"]) <= 16 for f in found)
    assert "".join(learned(f, reader) for f in found) == columns["text"][0] + "</s>"
    assert {f["row"] for f in found} == {0}


def test_only_completions_are_learned(opened: Any) -> None:
    task, pretrained = opened(QUESTIONS)
    reader = pretrained.reader(160)
    found = features(task.encode(placed(QUESTIONS), reader))
    assert [learned(f, reader) for f in found] == ["it is great</s>", "not at all</s>"]
    assert [reader.tokenizer.decode(f["prompt"]) for f in found] == ["<s>where is the room\n", "<s>was it good\n"]
    assert all(f["input_ids"][: len(f["prompt"])] == f["prompt"] for f in found)


@pytest.mark.parametrize(
    ("prompt", "completion", "options", "separator"),
    [
        ("a film", "good", {}, "\n"),
        ("a film ", "good", {}, ""),
        ("a film", " good", {}, ""),
        ("a film", "good", {"separator": " -> "}, " -> "),
        ("a film", "good", {"separator": ""}, ""),
        ("a film", "good", {"prompt": "{text}:\n"}, ""),
        ("a film ", "good", {"prompt": "Say about {prompt}!"}, "\n"),
    ],
)
def test_what_stands_between_prompt_and_completion(
    prompt: str, completion: str, options: dict[str, Any], separator: str, opened: Any
) -> None:
    columns = {"text": [prompt], "completion": [completion]}
    task, _ = opened(columns, **options)
    assert task.options.separator == separator


def test_a_prompt_that_is_too_long_is_cut_at_its_start_and_a_completion_never(opened: Any) -> None:
    columns: dict[str, list[Any]] = {"text": ["very " * 40 + "last", "short"], "completion": ["good", "small " * 40]}
    task, pretrained = opened(columns, generation={"max_new_tokens": 8})
    reader = pretrained.reader(32)
    (feature,) = features(task.encode(placed(columns), reader))
    assert feature["row"] == 0
    assert learned(feature, reader) == "good</s>"
    assert reader.tokenizer.decode(feature["prompt"]).endswith("last\n")
    assert feature["prompt"][0] == reader.tokenizer.bos_token_id
    assert len(feature["prompt"]) == 32 - 8


def test_tests_can_stand_in_the_prompt(opened: Any) -> None:
    task, pretrained = opened(PROGRAMS, prompt="{text}\nIt should pass:\n{tests}\n")
    reader = pretrained.reader(160)
    first, second = features(task.encode(placed(PROGRAMS), reader))
    assert reader.tokenizer.decode(first["prompt"]) == (
        "<s>Add two numbers.\nIt should pass:\nassert add(1, 2) == 3\nassert add(0, 0) == 0\n"
    )
    assert learned(first, reader) == "def add(a, b):\n    return a + b</s>"
    assert json.loads(second["tests"]) == [["assert half(4) == 2"], "import math", ""]
    read = [column.role for column in task.columns if not column.target]
    assert read == ["text", "tests"]  # what the predictor asks for
    plain = [column.role for column in TextGeneration(TextGenerationOptions()).columns if not column.target]
    assert plain == ["text"]


# --- losses, texts and programs


def test_loss_is_that_of_transformers(opened: Any) -> None:
    task, pretrained = opened(QUESTIONS)
    reader = pretrained.reader(160)
    batch = task.collate(features(task.encode(placed(QUESTIONS), reader)), reader)
    model = model_of(pretrained, task)
    with torch.inference_mode():
        ours = task.loss(model(**batch.inputs), batch) / batch.targets
        theirs = model(**{**batch.inputs, "labels": batch.labels}).loss
    assert float(ours) == pytest.approx(float(theirs), abs=1e-5)


def test_packing_changes_rows_and_not_the_loss(opened: Any) -> None:
    columns: dict[str, list[Any]] = {"text": ["the room was great and we liked it", "a bad book", "good", "a film"]}
    task, pretrained = opened(columns, packing=True)
    reader = pretrained.reader(160)
    model = model_of(pretrained, task)
    task.examine(model)
    given = features(task.encode(placed(columns), reader))
    apart, together = task.collate(given, reader), task.collate(given, reader, training=True)
    assert together.inputs["input_ids"].shape[0] < 4
    with torch.inference_mode():
        losses = [float(task.loss(model(**batch.inputs), batch)) for batch in (apart, together)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_text_is_measured_and_only_gone_on_from_when_asked(opened: Any) -> None:
    columns: dict[str, list[Any]] = {"text": ["the room was great"]}
    task, pretrained = opened(columns, generation={"max_new_tokens": 4})
    reader = pretrained.reader(160)
    model = model_of(pretrained, task)
    measured = task.collate(features(task.encode(placed(columns), reader)), reader)
    assert set(task.predict(model, measured, reader)[0]) == {"loss", "tokens"}
    asked = task.collate(features(task.encode(columns, reader)), reader)
    assert set(task.predict(model, asked, reader)[0]) == {"text"}


def test_programs_are_run_on_their_tests(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two samples of each: of the first task one is right, of the second none."""
    task, pretrained = opened(PROGRAMS, k=[1, 2], generation={"temperature": 1.0})
    assert task.options.samples == 2
    reader = pretrained.reader(160)
    said = {0: ["def add(a, b): return a + b", "```python\ndef add(a, b): return a - b\n```"],
            1: ["def half(a): return math.floor(a)", "def half(a) return 1"]}  # fmt: skip
    monkeypatch.setattr(text_generation, "written", lambda *_, **__: said)
    batch = task.collate(features(task.encode(placed(PROGRAMS), reader)), reader)
    first, second = task.predict(model_of(pretrained, task), batch, reader)
    assert first["passed"] == [True, False]
    assert first["text"] == first["texts"][0] == said[0][0]
    assert second["passed"] == [False, False]
    assert [reason.partition(":")[0] for reason in second["reasons"]] == ["AssertionError", "SyntaxError"]
    scorer = task.scorer()
    examples = [dict(zip(PROGRAMS, row, strict=True)) for row in zip(*PROGRAMS.values(), strict=True)]
    monkeypatch.setattr("weitiao.metrics.code.run_programs", lambda sources, *_, **__: [0 / 0 for _ in sources])
    scorer.add(examples, [first, second])  # nothing is run twice
    scores = scorer.scores()
    assert scores.primary == "pass_at_1"
    assert {name: score.value for name, score in scores.values.items()} == pytest.approx(
        {"pass_at_1": 0.25, "pass_at_2": 0.5, "perplexity": scores.values["perplexity"].value,
         "loss": scores.values["loss"].value}
    )  # fmt: skip


def test_code_that_goes_on_from_the_prompt() -> None:
    options = TextGenerationOptions(prompt_is_code=True, separator="", metric="pass_at_1")
    scorer = TextGeneration(options, TextForm(completed=True, tested=True)).scorer()
    example = {"text": "def one():\n", "completion": "    return 1", "tests": ["assert one() == 1"]}
    told = scorer.tell(example, {"texts": ["    return 1"]})
    assert told.right == 1.0
    assert told.expected == ["assert one() == 1"]


@pytest.mark.parametrize(
    ("form", "metric", "primary"),
    [
        (TextForm(completed=False, tested=False), "perplexity", "perplexity"),
        (TextForm(completed=True, tested=False), "chrf", "chrf"),
        (TextForm(completed=True, tested=True), "perplexity", "perplexity"),
        (TextForm(completed=True, tested=True), "pass_at_1", "pass_at_1"),
    ],
)
def test_the_primary_score(form: TextForm, metric: Any, primary: str) -> None:
    scores = TextGeneration(TextGenerationOptions(metric=metric), form).scorer().scores()
    assert scores.primary == primary
    assert scores.greater_is_better == (primary != "perplexity")


def test_options_can_be_written_out() -> None:
    options = TextGenerationOptions()
    assert TextGenerationOptions.model_validate(options.model_dump(mode="json")) == options


# --- which columns there are


@pytest.mark.parametrize(
    ("row", "roles"),
    [
        ({"text": "a", "code": "b", "task_id": 1, "test_setup_code": "", "test_list": ["c"],
          "challenge_test_list": []}, {"text": "text", "completion": "code", "tests": "test_list",
                                       "setup": "test_setup_code"}),
        ({"question": "a", "answer": "b"}, {"text": "question", "completion": "answer"}),
        ({"prompt": "a", "completion": "b"}, {"text": "prompt", "completion": "completion"}),
        ({"id": "1", "text": "a"}, {"text": "text"}),
    ],
)  # fmt: skip
def test_columns_are_found(row: dict[str, Any], roles: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for _ in range(3)))
    settings = DataSettings(train=str(file), validation_size=0, test_size=0)
    assert open_splits(settings, TextGeneration.columns, seed=0).columns.names == roles


WRONG: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({"text": ["a"], "tests": [["b"]]}, {}, "no programs", "data.train"),
    ({"text": ["a"]}, {"prompt": "Say: {text}"}, "no completion", "task.prompt"),
    (QUESTIONS, {"prompt": "{text} {tests}"}, "{tests}", "task.prompt"),
    (QUESTIONS, {"prompt": "Go on."}, "every example would read the same", "task.prompt"),
    (QUESTIONS, {"metric": "pass_at_1"}, "no score of this data", "task.metric"),
    (PROGRAMS, {"metric": "chrf"}, "no score of this data", "task.metric"),
    (PROGRAMS, {"k": [1, 5], "samples": 2}, "too few for pass@5", "task.samples"),
    (PROGRAMS, {"k": [1, 5]}, "would all be the same", "task.generation.temperature"),
    ({"text": ["where is the room: it is great and very clean"], "completion": ["it is great and very clean"]}, {},
     "hold their completions", "data.columns.text"),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "options", "problem", "where"), WRONG, ids=[each[2] for each in WRONG])
def test_what_does_not_fit_is_named(
    columns: dict[str, list[Any]], options: dict[str, Any], problem: str, where: str, opened: Any
) -> None:
    with pytest.raises((DataError, RecipeError)) as caught:
        opened(columns, **options)
    assert problem in caught.value.problem
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"text": "a", "code": "", "test_list": ["assert True"]}, "the completion is empty"),
        ({"text": "a", "code": "x = 1", "test_list": []}, "the program has no tests"),
    ],
)
def test_a_row_without_completion_or_tests_is_named(
    row: dict[str, Any], problem: str, tmp_path: Path, folder: Path
) -> None:
    whole = {"text": "b", "code": "y = 1", "test_list": ["assert y"]}
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(each) for each in (whole, row)))
    data = {"train": str(file), "validation_size": 0, "test_size": 0}
    with pytest.raises(DataError, match=problem) as caught:
        prepare(Recipe(task="text-generation", model=str(folder), data=data))
    assert caught.value.where == "rows.jsonl:2"


# --- a whole run


REPLAY = """
import json, sys
sys.modules["weitiao"] = None
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
inputs = tokenizer(sys.argv[2], return_tensors="pt")
output = model.generate(**inputs)
said = tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
print(json.dumps([inputs["input_ids"][0].tolist(), said]))
"""


def test_a_run_of_programs_and_its_artifact_in_plain_transformers(tmp_path: Path, folder: Path) -> None:
    lines = [{"text": f"Return {n}.", "code": f"def f():\n    return {n}", "test_list": [f"assert f() == {n}"]}
             for n in range(12)]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run = train(Recipe(
        task={"name": "text-generation", "prompt": "{text} {tests}", "generation": {"max_new_tokens": 8},
              "metric": "perplexity"},
        model=str(folder), data={"train": str(tmp_path / "rows.jsonl"), "test_size": 0.2},
        training={"epochs": 1, "batch_size": 4}, evaluation={"bootstrap": 20}, output=str(tmp_path / "run"),
    ))  # fmt: skip
    scores = json.loads((run.folder / "scores.json").read_text())["test"]
    assert scores["scores"]["values"]["pass_at_1"]["value"] == 0.0
    assert scores["scores"]["details"]["tables"][0]["rows"]
    assert scores["baselines"]
    asked = {"text": "Return 3.", "tests": ["assert f() == 3"]}
    predictor = load(run.artifact)
    (answer,) = predictor.predict([asked])
    (feature,) = predictor.artifact.task.encode({k: [v] for k, v in asked.items()}, predictor.artifact.reader)["prompt"]
    prompt = "Return 3. assert f() == 3\n"
    done = subprocess.run([sys.executable, "-c", REPLAY, str(run.artifact), prompt], capture_output=True, text=True)
    ids, said = json.loads(done.stdout)
    assert ids == feature
    assert said == answer["text"]
    assert repr(prompt.replace("Return 3.", "your text").replace("assert f() == 3", "your tests")) in (
        predictor.artifact.task.usage("decoder")
    )
