"""Token classification: annotations read and refused, windows, decoding, plain texts, Chinese, baselines."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama
from weitiao import Recipe, load, train
from weitiao.artifacts.card import write_card
from weitiao.errors import DataError, RecipeError, WeitiaoError
from weitiao.evaluation.baselines.tags import FrequentTag, TokenLogistic
from weitiao.evaluation.evaluate import Labelled
from weitiao.metrics.tags import Span, check_tags
from weitiao.models import load_model, open_pretrained
from weitiao.preparation import prepare
from weitiao.recipe import ModelSettings
from weitiao.records import FILE, LINE, Reader
from weitiao.tasks.annotations import Joined, spans_in, tags_in, tokens_in, units_of_text, units_of_tokens
from weitiao.tasks.decoding import NEVER, best_tags, rules
from weitiao.tasks.token_classification import TagSet, TokenClassification, TokenClassificationOptions

Values = Callable[..., dict[str, Any]]
TEXT = "Anna Berg flew to Oslo, then home."
NAMES = ("Anna Berg", "Tom", "Lena Fox", "Omar", "Ravi Menon")
PLACES = ("Oslo", "New York", "Graz", "Bath", "Porto")


def task(form: Any = "tokens", types: tuple[str, ...] = ("LOC", "PER"), **known: Any) -> TokenClassification:
    scheme = known.pop("scheme", "BIO")
    options = TokenClassificationOptions(scheme=scheme, metric="f1", **known.pop("options", {}))
    return TokenClassification(options, TagSet(form=form, written="BIO", scheme=scheme, types=list(types), **known))


def reader(folder: Path, max_length: int = 64, build: Callable[..., Path] = tiny_bert) -> Reader:
    texts = [f"{name} flew to {place} then home ." for name in NAMES for place in PLACES]
    build(folder, [*texts, "王小明从北京飞往上海。"])
    return open_pretrained(ModelSettings(source=str(folder)), base=Path()).reader(max_length)


def features(encoded: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]


def sentences(count: int = 60) -> list[dict[str, Any]]:
    """Tokens and tags."""
    found = []
    for number, (name, place) in enumerate(list(product(NAMES, PLACES)) * (count // 25 + 1)):
        who, there = name.split(), place.split()
        tags = ["B-PER", *["I-PER"] * (len(who) - 1), "O", "O", "B-LOC", *["I-LOC"] * (len(there) - 1), "O", "O"]
        found.append({"tokens": [*who, "flew", "to", *there, f"day{number}", "."], "tags": tags})
    return found[:count]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def recipe(values: Values, file: Path, **changes: Any) -> Recipe:
    return Recipe(**values(changes.pop("family", "encoder"), task=changes.pop("task", "token-classification"),
                           data={"train": str(file), "duplicates": "anywhere"}, **changes))  # fmt: skip


# --- cells


@pytest.mark.parametrize("cell", [["a", "b"], '["a", "b"]', "a b", " a  b "])
def test_tokens_in_every_form(cell: Any) -> None:
    assert tokens_in(cell, "x") == ["a", "b"]


@pytest.mark.parametrize(
    ("cell", "said"), [([], "no tokens"), ("", "no tokens"), (["a", ""], "nothing at 1"), (["a", None], "nothing at 1")]
)
def test_tokens_that_are_none(cell: Any, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        tokens_in(cell, "x.jsonl:3")
    assert caught.value.where == "x.jsonl:3"
    assert "'tokens'" in caught.value.problem


def test_tags_are_as_many_as_tokens_and_may_be_numbers() -> None:
    assert tags_in(["0", "1", "B-PER"], ["O", "B-PER"], 3, "x") == ["O", "B-PER", "B-PER"]
    with pytest.raises(DataError, match="2 tags for 3 tokens"):
        tags_in(["O", "O"], None, 3, "x")
    with pytest.raises(DataError, match="'7', no number from 0 to 1"):
        tags_in(["7"], ["O", "B-PER"], 1, "x")


@pytest.mark.parametrize(
    "cell",
    [
        [{"start": 0, "end": 9, "type": "PER"}, {"start": 18, "end": 22, "type": "LOC"}],
        [{"start": 18, "end": 22, "label": "LOC"}, {"start": "0", "end": "9", "label": "PER", "text": "Anna Berg"}],
        [[0, 9, "PER"], [18, 22, "LOC"]],
        '[{"start": 0, "end": 10, "type": "PER"}, {"start": 17, "end": 22, "type": "LOC"}]',  # with white space
        '{"entities": [[0, 9, "PER"], [18, 22, "LOC"]]}',
    ],
)
def test_spans_in_every_form(cell: Any) -> None:
    assert spans_in(cell, TEXT, "x") == [Span(0, 9, "PER"), Span(18, 22, "LOC")]


@pytest.mark.parametrize("cell", [None, "", [], "[]"])
def test_no_spans(cell: Any) -> None:
    assert spans_in(cell, TEXT, "x") == []


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ([[0, 9, "PER"], [5, 12, "LOC"]], r"overlap: 'Anna Berg' \(0 to 9, PER\) and 'Berg fl' \(5 to 12, LOC\)"),
        ([[0, 9, "PER"], [0, 9, "PER"]], "overlap"),
        ([[18, 99, "LOC"]], r"'entities\[0\]' goes from 18 to 99, the text has 34 characters"),
        ([[-2, 4, "PER"]], "goes from -2 to 4"),
        ([[4, 4, "PER"]], "is empty: from 4 to 4"),
        ([[4, 5, "PER"]], "nothing but white space"),
        ([[0, 4, "PER"], [9, 2, "LOC"]], r"'entities\[1\]' is empty: from 9 to 2"),
        ([{"start": 0, "end": 4, "type": "PER", "text": "Tom"}], "says 'Tom', but from 0 to 4 the text has 'Anna'"),
        ([{"start": 0, "end": 4}], "is no span"),
        ([{"start": 0, "type": "PER"}], "is no span"),
        ([[0, 4.5, "PER"]], "is no span"),
        ([["Anna", "PER"]], "is no span"),
        ("PER", "no JSON"),
        ("3", "holds no list but 3"),
    ],
)
def test_spans_that_are_none(cell: Any, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        spans_in(cell, TEXT, "x.jsonl:3")
    assert caught.value.where == "x.jsonl:3"
    assert "'entities" in caught.value.problem


def test_texts_are_cut_into_words_signs_and_chinese_characters() -> None:
    assert units_of_text("T-cell don't 3.5mg").words == ["T", "-", "cell", "don", "'", "t", "3", ".", "5", "mg"]
    assert units_of_text("T-cell 3mg x-", "-").words == ["T-cell", "3mg", "x", "-"]
    assert units_of_text("T-cell 3mg", "").words == ["T", "-", "cell", "3mg"]
    assert units_of_text("我在iPhone上看NBA。").words == ["我", "在", "iPhone", "上", "看", "NBA", "。"]
    assert units_of_text("  ").words == []
    units = units_of_tokens(["王", "小", "明", "likes", "NBA", "."])
    assert units.text == "王小明 likes NBA ."
    assert units.words == ["王", "小", "明", "likes", "NBA", "."]


def test_signs_inside_words_are_learned_from_tokens() -> None:
    joined = Joined()
    joined.add(["T-cell", "non-small", "-", "U.S.", ".", ".", "don't", "a/b", "/"])
    assert joined.signs == "'-"


# --- decoding


@pytest.mark.parametrize("scheme", ["BIO", "BIOES", "BMES", "BILOU"])
def test_rules_allow_what_is_legal_and_nothing_else(scheme: Any) -> None:
    allowed = rules(("LOC", "PER"), scheme)
    assert len(set(allowed.tags)) == len(allowed.tags) == (5 if scheme == "BIO" else 9)
    for tags in product(range(len(allowed.tags)), repeat=3):
        legal = allowed.first[tags[0]] == allowed.last[tags[-1]] == 0 and all(
            allowed.after[a, b] == 0 for a, b in pairwise(tags)
        )
        assert legal == (not check_tags([allowed.tags[tag] for tag in tags], scheme)), tags


def test_the_best_legal_sequence_is_found() -> None:
    allowed = rules(("X",), "BIOES")
    draw = np.random.default_rng(0)
    for _ in range(50):
        scores = np.log(draw.dirichlet(np.ones(5), size=4))
        best = max(
            product(range(5), repeat=4),
            key=lambda tags: (
                sum(scores[i, tag] for i, tag in enumerate(tags)) + allowed.first[tags[0]] + allowed.last[tags[-1]]
                + sum(allowed.after[a, b] for a, b in pairwise(tags))
            ),
        )  # fmt: skip
        assert best_tags(scores, allowed).tolist() == list(best)
    assert best_tags(np.empty((0, 5)), allowed).tolist() == []
    assert NEVER < -1e6


def test_an_answer_is_legal_where_single_tags_are_not() -> None:
    made, units = task(types=("PER",)), units_of_tokens(["Anna", "Berg", "flew"])
    answer = made.answer(units, np.array([[0.5, 0.4, 0.1], [0.1, 0.2, 0.7], [0.9, 0.05, 0.05]]))
    assert answer["tags"] == ["B-PER", "I-PER", "O"]  # by themselves O, I, O
    assert answer["entities"] == [
        {"type": "PER", "start": 0, "end": 2, "text": "Anna Berg", "score": pytest.approx(0.55)}
    ]


# --- pieces and windows


@pytest.mark.parametrize("build", [tiny_bert, tiny_llama, tiny_gpt2])
def test_the_first_piece_of_a_word_carries_its_tag(build: Callable[..., Path], tmp_path: Path) -> None:
    how = reader(tmp_path, build=build)
    tokens = ["Anna", "Berg", "Osloan", "Oslo", "。"]
    one = features(task().encode({"tokens": [tokens], "tags": [["B-PER", "I-PER", "O", "B-LOC", "O"]]}, how))[0]
    assert one["units"] == [0, 1, 2, 3, 4]
    learned = [label for label in one["labels"] if label != -100]
    assert [task().tags[label] for label in learned] == ["B-PER", "I-PER", "O", "B-LOC", "O"]
    assert [one["labels"][piece] for piece in one["at"]] == learned
    every = task(options={"label_all_pieces": True}, types=("LOC", "PER"))
    more = features(every.encode({"tokens": [tokens], "tags": [["B-PER", "I-PER", "O", "B-LOC", "O"]]}, how))[0]
    special = set(how.tokenizer.all_special_ids) - {how.tokenizer.unk_token_id}
    pieces = [how.tokenizer.decode([piece]).strip() and piece not in special for piece in more["input_ids"]]
    assert [label != -100 for label in more["labels"]] == list(map(bool, pieces))
    assert sum(map(bool, pieces)) > len(tokens)


@pytest.mark.parametrize("build", [tiny_bert, tiny_llama])
@pytest.mark.parametrize("max_length", [12, 20])
def test_windows_decide_each_word_once_and_give_the_same_entities(
    build: Callable[..., Path], max_length: int, tmp_path: Path
) -> None:
    how = reader(tmp_path, max_length, build)
    tokens = [word for row in sentences(8) for word in row["tokens"]]
    tags = [tag for row in sentences(8) for tag in row["tags"]]
    made = task()
    found = features(made.encode({"tokens": [["home"], tokens], "tags": [["O"], tags]}, how))
    windows = [feature for feature in found if feature["row"] == 1]
    assert len(windows) > 3
    assert max(len(feature["input_ids"]) for feature in windows) == max_length
    assert sorted(unit for feature in windows for unit in feature["units"]) == list(range(len(tokens)))
    whole = len(how.tokenizer(" ".join(tokens))["input_ids"])
    assert {feature["full_length"] for feature in windows} == {whole}
    right = torch.zeros(len(found), max_length, len(made.tags))
    for number, feature in enumerate(found):
        for unit, piece in zip(feature["units"], feature["at"], strict=True):
            right[number, piece, made.tags.index(tags[unit] if feature["row"] else "O")] = 9.0

    class Oracle(torch.nn.Module):
        def forward(self, **_: Any) -> Any:
            return type("Outputs", (), {"logits": right})

    batch = made.collate(found, how)
    first, second = made.predict(Oracle(), batch, how)
    assert first == {"entities": [], "tags": ["O"]}
    assert second["tags"] == tags
    assert [Span.of(entity) for entity in second["entities"]] == made.gold({"tokens": tokens, "tags": tags})


def test_a_word_without_pieces_is_answered_too(tmp_path: Path) -> None:
    how = reader(tmp_path)
    made = task()
    pretrained = open_pretrained(ModelSettings(source=str(tmp_path)), base=Path())
    model = load_model(pretrained, made.head("encoder"), seed=0).eval()
    encoded = features(made.encode({"tokens": [["Oslo", "\u200b\u0000", "home"], ["\u0000"]]}, how))
    assert encoded[0]["units"] == [0, 2]
    with torch.inference_mode():
        answers = made.predict(model, made.collate(encoded, how), how)
    assert [len(answer["tags"]) for answer in answers] == [3, 1]


def test_class_weights_weigh_the_loss_and_its_divisor(tmp_path: Path) -> None:
    how = reader(tmp_path)
    made = task(options={"class_weights": {"PER": 3.0, "O": 0.5}})
    batch = made.collate(
        features(made.encode({"tokens": [["Tom", "in", "Oslo"]], "tags": [["B-PER", "O", "B-LOC"]]}, how)), how
    )
    assert batch.targets == 4.5
    logits = torch.randn(1, batch.labels.shape[1], 5)  # type: ignore[union-attr]
    weights = torch.tensor([0.5, 1.0, 1.0, 3.0, 3.0])
    wanted = torch.nn.functional.cross_entropy(logits[0], batch.labels[0], weight=weights)  # type: ignore[index]
    torch.testing.assert_close(made.loss(type("Outputs", (), {"logits": logits}), batch) / batch.targets, wanted)


# --- what is learned of the data, and what is refused


def test_scheme_types_and_form_are_learned(recipe_values: Values, tmp_path: Path) -> None:
    ready = prepare(recipe(recipe_values, written(tmp_path / "a.jsonl", sentences())))
    known = ready.task.prepared
    assert (known.form, known.written, known.scheme, known.types) == ("tokens", "BIO", "BIO", ["LOC", "PER"])
    assert ready.recipe.task.options.scheme == "BIO"
    iob1 = [{**row, "tags": [tag.replace("B-", "I-") for tag in row["tags"]]} for row in sentences()]
    known = prepare(recipe(recipe_values, written(tmp_path / "b.jsonl", iob1))).task.prepared
    assert (known.written, known.scheme) == ("IOB1", "BIO")
    other = {"name": "token-classification", "scheme": "BIOES"}
    assert len(prepare(recipe(recipe_values, tmp_path / "a.jsonl", task=other)).task.tags) == 9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tags": ["B-PER", "O"]}, "a.jsonl:4: the field 'tags' holds 2 tags for 6 tokens"),
        ({"tags": ["PERSON", "O", "O", "O", "O", "O"]}, "a.jsonl:4: the field 'tags': 'PERSON' is no tag"),
        ({"tags": ["B_PER", "O", "O", "O", "O", "O"]}, "a.jsonl:4: the field 'tags': 'B_PER' is no tag"),
        ({"tokens": [], "tags": []}, "a.jsonl:4: the field 'tokens' holds no tokens"),
    ],
)
def test_bad_rows_are_named(change: dict[str, Any], said: str, recipe_values: Values, tmp_path: Path) -> None:
    rows = sentences()
    rows[3] = {"tokens": ["Tom", "flew", "to", "Graz", "day", "."], "tags": ["O"] * 6} | change
    with pytest.raises(WeitiaoError) as caught:
        prepare(recipe(recipe_values, written(tmp_path / "a.jsonl", rows)))
    assert said in str(caught.value)


def test_tags_of_another_scheme_in_a_few_rows(recipe_values: Values, tmp_path: Path) -> None:
    rows = sentences()
    rows[3] = {"tokens": ["Tom", "flew"], "tags": ["L-PER", "M-PER"]}
    with pytest.raises(WeitiaoError, match=r"no scheme has all"):
        prepare(recipe(recipe_values, written(tmp_path / "a.jsonl", rows)))


def test_broken_rules_rare_and_unknown_types_are_told(recipe_values: Values, tmp_path: Path) -> None:
    rows = sentences()
    rows[2] = {"tokens": ["flew", "Graz", "home"], "tags": ["O", "I-LOC", "B-RARE"]}
    other = [{"tokens": ["Kestrel", "flew"], "tags": ["B-ORG", "O"]}] * 2 + sentences(10)
    data = {"train": str(written(tmp_path / "a.jsonl", rows)), "test": str(written(tmp_path / "b.jsonl", other)),
            "duplicates": "anywhere"}  # fmt: skip
    found = prepare(Recipe(**recipe_values(task="token-classification", data=data, data__validation_size=0))).findings
    told = {(finding.level, finding.where, finding.problem) for finding in found}
    broken = "1 tag against the rules of BIO, the first: 'I-LOC' follows neither 'B-LOC' nor 'I-LOC'"
    assert ("warning", "data.train a.jsonl:3", broken) in told
    assert ("warning", "data.train", "types with fewer than 5 entities: RARE (1)") in told
    assert ("warning", "data.test", "training has no entity of the type ORG") in told


def test_columns_of_neither_form(recipe_values: Values, tmp_path: Path) -> None:
    rows = [{"tokens": row["tokens"], "entities": []} for row in sentences()]
    with pytest.raises(DataError, match="needs the columns tokens and tags, or text and entities; found: "):
        prepare(recipe(recipe_values, written(tmp_path / "a.jsonl", rows)))


def test_tokens_beside_their_text_are_read_as_tokens(recipe_values: Values, tmp_path: Path) -> None:
    """What a run was trained on is what `predict` asks for: not the text as well."""
    rows = [{"text": " ".join(row["tokens"]), "entities": [[0, 3, "X"]], **row} for row in sentences()]
    file = written(tmp_path / "a.jsonl", rows)
    ready = prepare(recipe(recipe_values, file))
    assert ready.recipe.data.columns == {"tokens": "tokens", "tags": "tags"}
    spans = Recipe(**recipe_values(task="token-classification", data={"train": str(file), "columns": {"text": "text"}}))
    assert prepare(spans).recipe.data.columns == {"text": "text", "entities": "entities"}


def test_a_long_text_loses_nothing_and_nobody_is_told_to_shorten_it(recipe_values: Values, tmp_path: Path) -> None:
    row = {"tokens": ["Tom", "flew", "to", "Graz", "."] * 30, "tags": ["B-PER", "O", "O", "B-LOC", "O"] * 30}
    ready = prepare(recipe(recipe_values, written(tmp_path / "a.jsonl", [row, *sentences()])))
    (found,) = [finding for finding in ready.findings if "longer than 64 tokens" in finding.problem]
    assert found.problem.startswith("1 of ")
    assert found.problem.endswith("they are read in overlapping windows, nothing is cut")
    assert (found.level, found.fix) == ("note", "")
    card = write_card("tags", ready.recipe, ready.task, "encoder", None, "", [])
    assert "Examples longer than 64 tokens: they are read in overlapping windows, nothing is cut." in card


def test_options_that_do_not_fit(recipe_values: Values, tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", sentences())
    weights = {"name": "token-classification", "class_weights": {"PRE": 2.0}}
    with pytest.raises(RecipeError, match="unknown type 'PRE'"):
        prepare(recipe(recipe_values, file, task=weights))
    spans = [{"text": " ".join(row["tokens"]), "entities": [[0, 3, "X"]]} for row in sentences()]
    metric = {"name": "token-classification", "metric": "token_accuracy"}
    with pytest.raises(RecipeError, match="no tokens to count"):
        prepare(recipe(recipe_values, written(tmp_path / "c.jsonl", spans), task=metric))
    outside = [{**row, "tags": ["O"] * len(row["tags"])} for row in sentences()]
    with pytest.raises(WeitiaoError, match="has no entity at all"):
        prepare(recipe(recipe_values, written(tmp_path / "b.jsonl", outside)))


def test_spans_within_words_are_widened_and_told(recipe_values: Values, tmp_path: Path) -> None:
    texts = [f"mRNA of Oslo{number} and DNA" for number in range(60)]
    rows = [{"text": text, "entities": [[1, 4, "ACID"], [len(text) - 3, len(text), "ACID"]]} for text in texts]
    ready = prepare(recipe(recipe_values, written(tmp_path / "a.jsonl", rows)))
    inside = next(finding for finding in ready.findings if "within a word" in finding.problem)
    assert "the first: 'RNA' (1 to 4)" in inside.problem
    example = {"text": "mRNA and DNA", "entities": [[1, 4, "ACID"], [9, 12, "ACID"]]}
    assert ready.task.gold_tags(example) == ["B-ACID", "O", "B-ACID"]


# --- whole runs


def quick(values: Values, file: Path, **changes: Any) -> Any:
    training = {"epochs": 30, "learning_rate": 5e-3, "batch_size": 16, "seed": 3, "patience": None}
    made = recipe(values, file, **changes, training=training, evaluation={"bootstrap": 20})
    return train(made)


def test_a_run_on_tokens_answers_tokens_and_plain_texts(recipe_values: Values, tmp_path: Path) -> None:
    import transformers

    run = quick(recipe_values, written(tmp_path / "a.jsonl", sentences(100)))
    assert run.score > 0.9
    report = json.loads((run.artifact.parent / "scores.json").read_text())["test"]
    assert set(report["baselines"]) == {"most frequent tag of each word", "logistic regression on letters"}
    assert {"f1", "partial_f1", "token_accuracy"} <= set(report["scores"]["values"])
    text = "Lena Fox flew to New York day3."
    tokens, plain = load(run.artifact).predict([{"tokens": ["Lena", "Fox", "flew", "to", "Graz"]}, text])
    assert tokens["tags"] == ["B-PER", "I-PER", "O", "O", "B-LOC"]
    assert [(e["type"], e["start"], e["end"]) for e in tokens["entities"]] == [("PER", 0, 2), ("LOC", 4, 5)]
    assert "tags" not in plain
    assert [(e["type"], text[e["start"] : e["end"]]) for e in plain["entities"]] == [
        ("PER", "Lena Fox"),
        ("LOC", "New York"),
    ]
    assert [e["text"] for e in plain["entities"]] == ["Lena Fox", "New York"]
    pipe = transformers.pipeline("token-classification", str(run.artifact), aggregation_strategy="first")
    found = pipe("Lena Fox flew to Graz")
    assert [(e["entity_group"], e["word"].lower()) for e in found] == [("PER", "lena fox"), ("LOC", "graz")]
    assert [float(e["score"]) for e in found] == pytest.approx([e["score"] for e in tokens["entities"]], abs=1e-5)


@pytest.mark.parametrize("family", ["encoder", "decoder"])
def test_a_run_on_chinese_texts_with_spans(family: str, recipe_values: Values, tmp_path: Path) -> None:
    people, places = ["王小明", "李娜", "陈晓东", "赵敏"], ["北京", "上海", "杭州", "成都"]
    rows = []
    for number, (who, there) in enumerate(product(people, places)):
        text = f"{number}号{who}去了{there}。"
        at, to = text.index(who), text.index(there)
        entities = [{"start": at, "end": at + len(who), "type": "人名"}, {"start": to, "end": to + 2, "label": "地名"}]
        rows.append({"text": text, "entities": entities})
    file = written(tmp_path / "zh.jsonl", rows * 4)
    folder = tmp_path / "model"
    {"encoder": tiny_bert, "decoder": tiny_gpt2}[family](folder, [row["text"] for row in rows], initializer_range=0.3)
    run = quick(recipe_values, file, model={"source": str(folder)})
    assert load(run.artifact).inference.task.prepared.spaced == (family == "decoder")  # its pieces are whole words
    answer = load(run.artifact).predict(["3号李娜去了杭州。"])[0]
    assert [(e["type"], e["start"], e["end"], e["text"]) for e in answer["entities"]] == [
        ("人名", 2, 4, "李娜"), ("地名", 6, 8, "杭州"),
    ]  # fmt: skip


# --- baselines


def labelled(rows: list[dict[str, Any]], name: str = "train") -> Labelled:
    from datasets import Dataset

    cells = {key: [row[key] for row in rows] for key in rows[0]}
    cells |= {LINE: list(range(len(rows))), FILE: ["x"] * len(rows)}
    return Labelled(name, Dataset.from_dict(cells), Dataset.from_dict({"row": list(range(len(rows)))}))


@pytest.mark.parametrize("kind", [FrequentTag, TokenLogistic])
def test_baselines_learn(kind: Any) -> None:
    on = labelled(sentences(100))
    baseline = kind(task())
    baseline.fit({"train": on}, lambda: None)
    found = list(baseline.predict(on))
    scorer = task().scorer()
    scorer.add([example for chunk in on.chunks() for example in chunk], found)
    assert scorer.compute()["f1"] > 0.95


def test_the_frequent_tag_of_an_unknown_word_is_o() -> None:
    baseline = FrequentTag(task())
    baseline.fit({"train": labelled(sentences(50))}, lambda: None)  # type: ignore[arg-type, return-value]
    rows = [{"tokens": ["Zed", "flew", "York"], "tags": ["O", "O", "O"]}]
    assert next(baseline.predict(labelled(rows)))["tags"][:2] == ["O", "O"]
