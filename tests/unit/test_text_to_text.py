"""Tasks that read a text and write one: prompts, what is cut, what is learned, what is refused, simple baselines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.samples import labelled
from weitiao import load, models, registry, train
from weitiao.errors import DataError, RecipeError, WeitiaoError
from weitiao.evaluation.baselines.texts import Copy, Lead, Nearest, first_sentence
from weitiao.preparation import open_examples, prepare
from weitiao.recipe import ModelSettings, Recipe
from weitiao.records import FILE, LINE, UNTRAINED, Reader
from weitiao.tasks.fitting import Template
from weitiao.tasks.generative_qa import GenerativeQa, GenerativeQaOptions
from weitiao.tasks.sequences import prompt_ids, prompt_of
from weitiao.tasks.summarization import Summarization, SummarizationOptions
from weitiao.tasks.text2text_generation import Text2TextGeneration, Text2TextOptions, Wording, as_text
from weitiao.tasks.translation import Translation, TranslationOptions

FAMILIES = {"decoder": tiny.tiny_llama, "seq2seq": tiny.tiny_t5}
TASKS = ("text2text-generation", "summarization", "translation", "generative-qa")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """Family -> a tiny model, opened."""
    made: dict[str, Any] = {}

    def build(family: str) -> Any:
        if family not in made:
            folder = FAMILIES[family](tmp_path_factory.mktemp(family))
            made[family] = models.open_pretrained(ModelSettings(source=str(folder)), base=Path())
        return made[family]

    return build


@pytest.fixture(params=sorted(FAMILIES))
def pretrained(request: pytest.FixtureRequest, opened: Callable[[str], Any]) -> Any:
    return opened(request.param)


def splits_of(*examples: dict[str, Any]) -> Any:
    return {"train": labelled(examples, "train").examples}


def encoded(task: Any, examples: list[dict[str, Any]], reader: Reader) -> list[dict[str, Any]]:
    columns = {name: [example[name] for example in examples] for name in examples[0]}
    found = task.encode(columns, reader)
    return [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]


# --- prompts


def test_auto_prompts_of_each_task_family_and_language(opened: Callable[[str], Any]) -> None:
    english = {"text": "a long text", "summary": "short"}
    chinese = {"text": "很长的文字", "summary": "短"}
    summarization = Summarization(SummarizationOptions())
    for example, cue in ((english, "Summary:"), (chinese, "摘要：")):
        ready, _ = summarization.prepare(splits_of(example), opened("decoder"))
        assert ready.known.prompt == f"{{text}}\n\n{cue}\n"
        assert ready.options.prompt == f"{{text}}\n\n{cue}"
    assert ready.known.language == ready.options.language == "zh"
    ready, _ = summarization.prepare(splits_of(english), opened("seq2seq"))
    assert ready.known.prompt == "{text}"
    asked = {"question": "who?", "answers": ["me"]}
    ready, _ = GenerativeQa(GenerativeQaOptions()).prepare(splits_of(asked), opened("decoder"))
    assert ready.known.prompt == "Question: {question}\nAnswer:\n"
    ready, _ = GenerativeQa(GenerativeQaOptions()).prepare(splits_of(asked | {"context": "c"}), opened("seq2seq"))
    assert ready.known.prompt == "question: {question} context: {context}"


def test_targets_in_several_languages_are_told_one_by_one(opened: Callable[[str], Any]) -> None:
    both = [{"source": "good morning", "target": "早上好"}, {"source": "晚安", "target": "good night"}]
    ready, _ = Translation(TranslationOptions()).prepare(splits_of(*both), opened("decoder"))
    assert ready.known.language == "auto"
    scorer = ready.scorer()
    scorer.add(both, [{"text": "早上好"}, {"text": "good night"}])
    signature = scorer.scores().details["signatures"]["bleu"]
    assert "tok:zh" in signature
    assert "tok:13a" in signature


@pytest.mark.parametrize(
    ("prompt", "said"),
    [("Translate", "no role in it"), ("{text}", "which is no role of the task"), ("{source!r}", "no name of a role"),
     ("{source", "cannot be read"), ("{target}", "which is no role of the task")],
)  # fmt: skip
def test_a_prompt_that_is_none_is_refused(prompt: str, said: str, opened: Callable[[str], Any]) -> None:
    task = Translation(TranslationOptions(prompt=prompt))
    with pytest.raises(RecipeError, match=said):
        task.prepare(splits_of({"source": "a", "target": "b"}), opened("seq2seq"))


def test_a_prompt_with_a_role_the_data_lacks_is_refused(opened: Callable[[str], Any]) -> None:
    task = GenerativeQa(GenerativeQaOptions(prompt="{context} {question}"))
    with pytest.raises(RecipeError, match="context"):
        task.prepare(splits_of({"question": "a", "answers": "b"}), opened("decoder"))


def test_lists_of_sentences_are_read_as_one_text() -> None:
    assert as_text(["One.", " Two. ", None, ""]) == "One. Two."
    assert as_text(["一。", "二。"]) == "一。二。"
    assert as_text(None) == ""


def test_lists_among_plain_texts_are_read_as_lists(tmp_path: Path) -> None:
    rows = [{"input": "a", "target": "b"}, {"input": ["One.", "Two."], "target": ["c", "d"]},
            {"input": '["no list', "target": "e"}]  # fmt: skip
    task = Text2TextGeneration(Text2TextOptions())
    splits, _ = open_examples(recipe("text2text-generation", tmp_path, tmp_path, rows), task)
    assert [task.source(example) for example in splits["train"]] == ["a", "One. Two.", '["no list']
    assert [task.references(example) for example in splits["train"]] == [["b"], ["c", "d"], ["e"]]


def test_several_references_one_learned_all_scored() -> None:
    task = Text2TextGeneration(Text2TextOptions(metric="exact_match"), Wording(prompt="{input}", language="other"))
    example = {"input": "x", "target": ["first", "second", "first"], "references": "third"}
    assert task.references(example) == ["first", "second", "third"]
    scorer = task.scorer()
    scorer.add([example] * 3, [{"text": "third"}, {"text": "Second."}, {"text": "fourth"}])
    assert scorer.compute()["exact_match"] == pytest.approx(2 / 3)
    squad = {"question": "q", "answers": json.dumps({"text": ["Paris", "the city"], "answer_start": [3, 9]})}
    assert GenerativeQa(GenerativeQaOptions()).references(squad) == ["Paris", "the city"]


def test_a_tasks_own_length_stays_beside_other_generation_options() -> None:
    assert GenerativeQaOptions(generation={"beams": 4}).generation.max_new_tokens == 32
    assert GenerativeQaOptions(generation={"beams": 4}).generation.beams == 4
    assert SummarizationOptions(generation={"max_new_tokens": 9}).generation.max_new_tokens == 9


# --- tokens: what is learned, what is cut


def test_only_the_target_and_its_end_are_learned(pretrained: Any) -> None:
    task = Text2TextGeneration(Text2TextOptions(), Wording(prompt="say: {input}\n", language="other"))
    reader = pretrained.reader(64)
    [feature] = encoded(task, [{"input": "the film was good", "target": "very good"}], reader)
    learned = [label for label in feature["labels"] if label != UNTRAINED]
    assert reader.tokenizer.decode(learned) == "very good</s>"
    assert reader.tokenizer.decode(prompt_of(feature, reader), skip_special_tokens=True) == "say: the film was good\n"


def test_prompts_are_the_same_with_and_without_target(pretrained: Any) -> None:
    """Also where they are cut: training leaves the room that generation needs."""
    options = Text2TextOptions(generation={"max_new_tokens": 20})
    task = Text2TextGeneration(options, Wording(prompt="{input}\n\nIn short:\n", language="other"))
    reader = pretrained.reader(64)
    examples = [{"input": "the room was too small " * times, "target": "small room"} for times in (1, 5, 8, 9, 10, 40)]
    trained = [prompt_of(feature, reader) for feature in encoded(task, examples, reader)]
    asked = [feature["input_ids"] for feature in encoded(task, [{"input": e["input"]} for e in examples], reader)]
    assert trained == asked
    assert all(len(ids) <= (64 if reader.family == "seq2seq" else 44) for ids in asked)
    texts = [reader.tokenizer.decode(ids, skip_special_tokens=True) for ids in asked]
    assert all(text.startswith("the room") and text.endswith("\n\nIn short:\n") for text in texts)


def test_a_long_source_is_cut_at_its_end_and_counted(pretrained: Any) -> None:
    reader = pretrained.reader(48)
    long = " ".join(f"word{i}" for i in range(100))
    template = Template("{context}\n\nQ: {question}\nA:\n", reader, room=10)
    found = template.encode(
        [{"question": "who came?", "context": long}, {"question": "q", "context": "c"}], ["me", "you"]
    )
    text = reader.tokenizer.decode(prompt_of({k: v[0] for k, v in found.items()}, reader), skip_special_tokens=True)
    assert text.startswith("word0 word1")
    assert text.endswith("\n\nQ: who came?\nA:\n")
    whole = len(prompt_ids([f"{long}\n\nQ: who came?\nA:\n"], reader)[0])
    assert found["full_length"][0] == whole + (0 if reader.family == "seq2seq" else 10)
    assert found["full_length"][1] < 48
    kept = len(prompt_of({k: v[0] for k, v in found.items()}, reader))
    assert 30 <= kept <= (48 if reader.family == "seq2seq" else 38)  # cut no more than has to be


def test_a_role_that_the_prompt_does_not_read_is_not_cut(pretrained: Any) -> None:
    reader = pretrained.reader(48)
    template = Template("{question}\nA:\n", reader, room=10)
    values = [{"question": "who came " * 60, "context": "word " * 200}]
    assert reader.tokenizer.decode(template.encode(values, None)["input_ids"][0]).rstrip("</s>").endswith("\nA:\n")


def test_a_prompt_too_long_by_itself_still_fits(pretrained: Any) -> None:
    reader = pretrained.reader(24)
    found = Template("word " * 60 + "{input}\n", reader, room=8).encode([{"input": "a b c"}], ["yes"])
    assert len(found["input_ids"][0]) <= 24


def test_a_target_that_does_not_fit_is_left_out(pretrained: Any) -> None:
    task = Text2TextGeneration(Text2TextOptions(), Wording(prompt="{input}\n", language="other"))
    examples = [{"input": "a", "target": "b"}, {"input": "a", "target": "z " * 100}, {"input": "c", "target": "d"}]
    assert [feature["row"] for feature in encoded(task, examples, pretrained.reader(32))] == [0, 2]


def test_packed_rows_carry_the_same_loss(opened: Callable[[str], Any]) -> None:
    import torch

    pretrained = opened("decoder")
    task = Text2TextGeneration(Text2TextOptions(packing=True), Wording(prompt="{input}\n", language="other"))
    reader = pretrained.reader(64)
    model = models.load_model(pretrained, task.head("decoder"), seed=0).eval()
    examples = [{"input": "the film was good", "target": "yes"}, {"input": "a bad book", "target": "no, not at all"},
                {"input": "x", "target": "y"}]  # fmt: skip
    features = encoded(task, examples, reader)
    sums = []
    for training in (False, True):
        batch = task.collate(features, reader, training=training)
        with torch.inference_mode():
            sums.append((float(task.loss(model(**batch.inputs), batch)), batch.targets, len(batch.inputs["input_ids"])))
    assert sums[0][0] == pytest.approx(sums[1][0], rel=1e-4)
    assert sums[0][1] == sums[1][1]
    assert sums[1][2] < sums[0][2]


def test_packing_is_refused_where_it_cannot_be(opened: Callable[[str], Any]) -> None:
    task = Text2TextGeneration(Text2TextOptions(packing=True))
    with pytest.raises(RecipeError, match=r"task\.packing"):
        task.prepare(splits_of({"input": "a", "target": "b"}), opened("seq2seq"))


# --- predictions


def test_predictions_are_text_and_loss_where_asked_for(pretrained: Any) -> None:
    wording = Wording(prompt="{input}\n", language="other")
    examples = [{"input": "the film was good", "target": "yes"}, {"input": "a bad book", "target": "no"}]
    reader = pretrained.reader(64)
    model = models.load_model(pretrained, Text2TextGeneration(Text2TextOptions()).head(reader.family), seed=0)
    few = {"max_new_tokens": 3}
    both = {"text", "loss", "tokens"}
    cases = (("chrf", False, both), ("perplexity", False, both - {"text"}), ("perplexity", True, both))
    for metric, answers, keys in cases:
        task = Text2TextGeneration(Text2TextOptions(metric=metric, generation=few), wording)
        batch = task.collate(encoded(task, examples, reader), reader)
        assert [set(found) for found in task.predict(model, batch, reader, answers=answers)] == [keys] * 2
        scorer = task.scorer()
        scorer.add(examples, task.predict(model, batch, reader, answers=answers))
        assert {metric, "perplexity", "loss"} <= set(scorer.compute())
        assert scorer.scores().primary == metric
    unlabelled = [{"input": example["input"]} for example in examples]
    batch = task.collate(encoded(task, unlabelled, reader), reader)
    assert [set(found) for found in task.predict(model, batch, reader)] == [{"text"}] * 2


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_training_artifact_and_plain_transformers_agree(
    family: str, tmp_path: Path, opened: Callable[[str], Any]
) -> None:
    """Token by token: the prompts of training, of the saved artifact, and of the model card's code; and the texts."""
    import transformers

    rows = [{"question": f"how was the room {i}", "context": "small " * (5 * i), "answers": ["too small", "small"]}
            for i in range(1, 9)]  # fmt: skip
    values = recipe("generative-qa", tmp_path, opened(family).folder, rows).to_dict()
    values["task"]["generation"] = {"max_new_tokens": 8}
    values |= {"output": str(tmp_path / "run"), "training": {"epochs": 1, "batch_size": 8}}
    learned = prepare(Recipe(**values))
    trained = [prompt_of(feature, learned.reader) for feature in learned.features["train"]]
    folder = train(Recipe(**values)).artifact
    predictor = load(folder, device="cpu")
    artifact = predictor.artifact
    asked = {role: [row[role] for row in rows] for role in ("question", "context")}
    assert artifact.task.encode(asked, artifact.reader)["input_ids"] == trained
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = getattr(transformers, artifact.task.head(family).auto_class).from_pretrained(folder).eval()
    assert len(tokenizer(learned.task.known.prompt.format(**rows[-1]))["input_ids"]) > 64  # the last is cut
    for row, prompt, said in zip(rows[:4], trained, predictor.predict(rows), strict=False):
        inputs = tokenizer(learned.task.known.prompt.format(**row), return_tensors="pt", return_token_type_ids=False)
        assert inputs["input_ids"][0].tolist() == prompt
        start = len(prompt) if family == "decoder" else 0
        text = tokenizer.decode(model.generate(**inputs)[0, start:], skip_special_tokens=True)
        assert text.strip() == said["text"]


# --- what is refused and what is told


def written(tmp_path: Path, rows: list[dict[str, Any]]) -> str:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def recipe(task: str, tmp_path: Path, model: Path, rows: list[dict[str, Any]], **options: Any) -> Recipe:
    return Recipe(task={"name": task, **options}, model={"source": str(model)}, method="full",
                  data={"train": written(tmp_path, rows), "validation_size": 0, "test_size": 0})  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("empty", ["", [], ["", " "], None])
@pytest.mark.parametrize("side", [0, 1])
def test_an_empty_cell_names_row_and_role(task: str, empty: Any, side: int, tmp_path: Path,
                                          opened: Callable[[str], Any]) -> None:  # fmt: skip
    kind = registry.get("task", task)(registry.get("task", task).Options())
    roles = (kind.read[0], kind.written[0])
    rows: list[dict[str, Any]] = [dict.fromkeys(roles, f"text {i}") for i in range(4)]
    if isinstance(empty, list):
        rows = [{role: [text] for role, text in row.items()} for row in rows]
    rows[2][roles[side]] = empty
    with pytest.raises(WeitiaoError) as caught:
        prepare(recipe(task, tmp_path, opened("seq2seq").folder, rows))
    assert f"rows.jsonl:3: 1 row with an empty {roles[side]}" in str(caught.value)


def test_an_empty_target_while_encoding_names_the_row(pretrained: Any) -> None:
    task = GenerativeQa(GenerativeQaOptions(), Wording(prompt="{question}\n", language="other"))
    cells = {"question": ["a", "b"], "answers": [["x"], []], FILE: ["f.json"] * 2, LINE: [4, 5]}
    with pytest.raises(DataError, match="json:5: the answers is empty"):
        task.encode(cells, pretrained.reader(64))


def test_columns_without_text_are_refused(opened: Callable[[str], Any]) -> None:
    from datasets import Dataset

    splits = {"train": Dataset.from_dict({"input": [[[1, 2]], [[3]]], "target": ["a", "b"]})}
    with pytest.raises(DataError, match="the column of the input holds no text"):
        Text2TextGeneration(Text2TextOptions()).prepare(splits, opened("seq2seq"))


def test_targets_that_cannot_be_written_whole_are_told(opened: Callable[[str], Any]) -> None:
    task = Text2TextGeneration(Text2TextOptions(generation={"max_new_tokens": 4}))
    _, findings = task.prepare(
        splits_of({"input": "a", "target": "b"}, {"input": "c", "target": "d " * 9}), opened("decoder")
    )
    assert [(finding.level, finding.where) for finding in findings] == [("warning", "task.generation.max_new_tokens")]
    assert "1 of 2 training targets looked at are longer than the 4 tokens" in findings[0].problem


def test_targets_the_tokenizer_does_not_know_are_told(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    folder = tiny.tiny_t5(tmp_path)
    words = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", "yes", "no"])}
    tokenizer = Tokenizer(kinds.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
                            model_max_length=64).save_pretrained(folder)  # fmt: skip
    assert AutoTokenizer.from_pretrained(folder).unk_token_id == 2
    opened = models.open_pretrained(ModelSettings(source=str(folder)), base=Path())
    _, findings = Text2TextGeneration(Text2TextOptions()).prepare(
        splits_of({"input": "a", "target": "yes 是"}, {"input": "c", "target": "no"}), opened
    )
    assert ["does not know 20% of the tokens of the targets" in finding.problem for finding in findings] == [True]


SCITLDR = {"source": ["One.", "Two."], "target": ["1"], "title": "t"}
NEWS = {"article": "a", "highlights": "b", "id": "1"}
WEB = {"qId": "w1", "answers": ["x", "y"], "qText": "z?"}


@pytest.mark.parametrize(
    ("task", "row", "columns"),
    [
        ("summarization", SCITLDR, {"text": "source", "summary": "target"}),
        ("summarization", NEWS, {"text": "article", "summary": "highlights"}),
        ("translation", {"en": "hi", "zh": "嗨"}, {"source": "en", "target": "zh"}),
        ("translation", {"原文": "hi", "译文": "嗨"}, {"source": "原文", "target": "译文"}),
        ("generative-qa", WEB, {"question": "qText", "answers": "answers"}),
        ("text2text-generation", {"input": "a", "output": "b"}, {"input": "input", "target": "output"}),
    ],
)
def test_usual_columns_are_found(task: str, row: dict[str, Any], columns: dict[str, str], tmp_path: Path) -> None:
    kind = registry.get("task", task)
    splits, _ = open_examples(recipe(task, tmp_path, tmp_path, [row]), kind(kind.Options()))
    assert splits.columns.names == columns


# --- baselines


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("We study cats, e.g. big ones. They purr.", "We study cats, e.g. big ones."),
        ("Results of Smith et al. (2018) hold. So do ours.", "Results of Smith et al. (2018) hold."),
        ('"Stop!" he said. Then he left.', '"Stop!"'),
        ("今天下雨。明天晴。", "今天下雨。"),
        ("no end at all", "no end at all"),
        ("", ""),
    ],
)
def test_the_first_sentence(text: str, first: str) -> None:
    assert first_sentence(text) == first


@pytest.mark.parametrize(
    ("text", "lead", "copy"),
    [
        (["A cat came.", "It left."], "A cat came.", "A cat came. It left."),
        ("一只猫。走了。", "一只猫。", "一只猫。走了。"),
    ],
)
def test_lead_and_copy(text: Any, lead: str, copy: str) -> None:
    task, on = Summarization(SummarizationOptions()), labelled([{"text": text, "summary": "s"}])
    assert list(Lead(task).predict(on)) == [{"text": lead}]
    assert list(Copy(task).predict(on)) == [{"text": copy}]


def test_the_nearest_question() -> None:
    known = {"capital of France": ["Paris"], "who wrote Faust": ["Goethe", "J. W."], "capital of Austria": ["Vienna"],
             "colour of grass": ["Paris"]}  # fmt: skip
    asked = {"who wrote it?": "Goethe", "Austria's capital": "Vienna", "zzz": "Paris"}
    nearest = Nearest(GenerativeQa(GenerativeQaOptions()))
    train = labelled([{"question": question, "answers": answers} for question, answers in known.items()])
    nearest.fit({"train": train}, None)  # type: ignore[arg-type]
    test = labelled([{"question": question, "answers": ["x"]} for question in asked])
    assert [found["text"] for found in nearest.predict(test)] == list(asked.values())
