"""Language modelling: words, blocks, masks, spans, losses; and that its artifact is a model to go on from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.task_samples.language_modeling import t5_with_sentinels
from weitiao import load, train
from weitiao.errors import DataError, ModelError, RecipeError
from weitiao.models import load_model, open_pretrained
from weitiao.preparation import prepare
from weitiao.recipe import ModelSettings, Recipe
from weitiao.records import Batch, Pretrained, Reader
from weitiao.tasks import corruption, masking
from weitiao.tasks.blocks import cuts, seeded
from weitiao.tasks.language_modeling import LanguageModeling, LanguageModelingOptions
from weitiao.tasks.segmenting import jieba_is_there, word_numbers, word_spans

TEXTS = (
    "the red fox ran over the old stone bridge at dawn",
    "my sister bakes rye bread for the whole street",
    "rain fell on the tin roof all night long",
    "a tall ship left port with salt and wool",
    "nobody at school knew why bells rang twice",
    "three grey cats sleep under our kitchen table",
    "his uncle mends clocks in a shop by the river",
    "we planted beans and corn behind that white barn",
)
LONG = " ".join(TEXTS)  # about 80 words


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pretrained]:
    """Family -> an opened tiny model that knows the texts."""
    folder = tmp_path_factory.mktemp("models")
    build = {
        "encoder": lambda to: tiny.tiny_bert(to, TEXTS), "decoder": lambda to: tiny.tiny_llama(to, TEXTS),
        "gpt2": lambda to: tiny.tiny_gpt2(to, TEXTS),
        "seq2seq": lambda to: t5_with_sentinels(to, TEXTS), "bart": tiny_bart,
    }  # fmt: skip
    made: dict[str, Pretrained] = {}

    def opened(name: str) -> Pretrained:
        if name not in made:
            made[name] = open_pretrained(ModelSettings(source=str(build[name](folder / name))), base=Path())
        return made[name]

    return opened


def tiny_bart(folder: Path) -> Path:
    """A BART with a mask token and no sentinels."""
    from tokenizers import processors
    from transformers import BartConfig, BartForConditionalGeneration

    tokenizer = tiny._byte_pairs(TEXTS, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], None)
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=ends
    )
    names = ("pad", "unk", "mask")
    wrapped = tiny._wrapped(
        tokenizer, bos_token="<s>", eos_token="</s>", **{f"{name}_token": f"<{name}>" for name in names}
    )
    shape = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    shape |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": len(wrapped)}
    shape |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
    shape |= {"max_position_embeddings": 64}
    return tiny._save(lambda: BartForConditionalGeneration(BartConfig(**shape)), wrapped, folder, 0)


def prepared(pretrained: Pretrained, texts: list[str] | None = None, **options: Any) -> LanguageModeling:
    from datasets import Dataset

    split = Dataset.from_dict({"text": texts or list(TEXTS)})
    task, _ = LanguageModeling(LanguageModelingOptions(**options)).prepare({"train": split}, pretrained)
    return task


def encoded(task: LanguageModeling, texts: list[str], reader: Reader) -> list[dict[str, Any]]:
    columns = task.encode({"text": texts}, reader)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


# --- words


def test_words_are_told_apart_in_any_script() -> None:
    text = "Don't stop: 我们，ok?"
    assert [text[start:end] for start, end in word_spans(text)] == ["Don't", "stop", ":", "我", "们", "，", "ok", "?"]


@pytest.mark.skipif(not jieba_is_there(), reason="jieba is not installed")
def test_chinese_words_are_those_of_jieba() -> None:
    text = "人民法院依法审判 civil 案件。"
    found = [text[start:end] for start, end in word_spans(text, "jieba")]
    assert found == ["人民法院", "依法", "审判", "civil", "案件", "。"]


def test_tokens_that_share_a_word_belong_together() -> None:
    text = "play 人民法院"
    spans = [(0, 2), (2, 4), (4, 5), (5, 7), (7, 9)]  # pl ##ay ▁ 人民 法院
    assert word_numbers(text, spans, "characters") == [0, 0, 1, 1, 2]  # the blank goes with what follows
    across = [(5, 6), (6, 8), (8, 9)]  # 人 民法 院, where 人民 and 法院 were two words
    assert word_numbers(text, across, "characters") == [0, 1, 2]
    if jieba_is_there():
        assert word_numbers(text, spans, "jieba") == [0, 0, 1, 1, 1]


def test_a_token_that_reaches_into_two_words_joins_them() -> None:
    assert word_numbers("ab cd ef", [(0, 1), (1, 4), (4, 5), (6, 8)]) == [0, 0, 0, 1]


def test_bytes_of_one_character_belong_together() -> None:
    assert word_numbers("鑫a", [(0, 1), (0, 1), (0, 1), (1, 2)]) == [0, 0, 0, 1]


def test_blocks_are_cut_between_words() -> None:
    words = [0, 0, 1, 2, 2, 2, 3, 4]
    assert [(part.start, part.stop) for part in cuts(words, 4)] == [(0, 3), (3, 7), (7, 8)]
    assert [(part.start, part.stop) for part in cuts([0] * 5, 2)] == [(0, 2), (2, 4), (4, 5)]  # longer than a block


# --- masks


def test_whole_words_are_masked_and_no_special_token() -> None:
    words = [-1, 0, 0, 0, 1, 2, 2, 3, 4, 5, 5, -1]
    for seed in range(50):
        chosen = masking.drawn(words, 0.3, seeded([seed]))
        assert chosen == sorted(chosen)
        assert 1 <= len(chosen) <= 3  # 0.3 of ten tokens
        assert all(words[at] != -1 for at in chosen)
        numbers = {words[at] for at in chosen}
        assert chosen == [at for at, word in enumerate(words) if word in numbers]


def test_a_word_longer_than_the_share_is_masked_when_nothing_else_is() -> None:
    assert masking.drawn([-1, 0, 0, 0, 0, -1], 0.15, seeded([1])) == [1, 2, 3, 4]


def test_eighty_ten_ten(models: Callable[[str], Pretrained]) -> None:
    tokenizer = models("encoder").tokenizer
    ids = [tokenizer.convert_tokens_to_ids("fox")] * 20_000
    found = np.array(masking.replaced(ids, range(len(ids)), models("encoder").reader(64), seeded([1])))
    mask, kept = (found == tokenizer.mask_token_id).mean(), (found == ids[0]).mean()
    assert mask == pytest.approx(0.8, abs=0.01)
    assert kept == pytest.approx(0.1 + 0.1 / (len(tokenizer) - 5), abs=0.01)
    others = found[(found != tokenizer.mask_token_id) & (found != ids[0])]
    assert not set(others.tolist()) & set(tokenizer.all_special_ids)
    assert len(set(others.tolist())) > 0.9 * (len(tokenizer) - 6)


def test_disjoint_sets_hold_each_token_once() -> None:
    words = [-1, *(number // 2 for number in range(40)), -1]
    sets = masking.disjoint(words, 0.15, seeded([1]))
    assert len(sets) == 7
    assert sorted(at for chosen in sets for at in chosen) == list(range(1, 41))
    assert max(map(len, sets)) - min(map(len, sets)) <= 2
    assert len(masking.disjoint([-1, 0, 1, -1], 0.15, seeded([1]))) == 2


@pytest.mark.parametrize("family", ["encoder", "seq2seq", "bart"])
def test_cutting_a_batch_does_not_change_what_is_hidden(family: str, models: Callable[[str], Pretrained]) -> None:
    import torch

    task, reader = prepared(models(family)), models(family).reader(64)
    features = encoded(task, list(TEXTS), reader)

    def drawn(size: int) -> list[Any]:
        torch.manual_seed(3)
        parts = [features[start : start + size] for start in range(0, len(features), size)]
        return [rows_of(task.collate(part, reader, training=True)) for part in parts]

    def rows_of(batch: Batch) -> list[Any]:
        mask = batch.inputs["attention_mask"].bool()
        assert batch.labels is not None
        return [(row[own].tolist(), labels[labels != -100].tolist())
                for row, own, labels in zip(batch.inputs["input_ids"], mask, batch.labels, strict=True)]  # fmt: skip

    assert [row for part in drawn(8) for row in part] == [row for part in drawn(3) for row in part]
    torch.manual_seed(3)
    again = rows_of(task.collate(features, reader, training=True))
    assert again != rows_of(task.collate(features, reader, training=True))  # drawn anew


def test_outside_training_nothing_hangs_on_random_states_or_places(models: Callable[[str], Pretrained]) -> None:
    import torch

    task, reader = prepared(models("encoder")), models("encoder").reader(64)
    features = encoded(task, list(TEXTS), reader)
    state = torch.get_rng_state()
    first = task.collate(features, reader)
    other = task.collate([{**feature, "row": feature["row"] + 100} for feature in features], reader)
    assert torch.equal(first.inputs["input_ids"], other.inputs["input_ids"])
    assert torch.equal(state, torch.get_rng_state())


# --- spans


def test_span_corruption_as_in_the_paper() -> None:
    """Raffel et al. 2020, figure 2: *for inviting* and *last* are hidden."""
    text = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week", "."]
    spans = [(2, 4), (8, 9)]
    source, target, said = corruption.with_sentinels(text, spans, ["<X>", "<Y>", "<Z>"])  # type: ignore[arg-type,list-item]
    assert " ".join(map(str, source)) == "Thank you <X> me to your party <Y> week ."
    assert " ".join(map(str, target)) == "<X> for inviting <Y> last <Z>"
    assert said == [False, True, True, False, True, False]


def test_spans_that_touch_become_one() -> None:
    assert corruption.with_sentinels([5, 6, 7, 8], [(1, 2), (2, 4)], [90, 91])[:2] == ([5, 90], [90, 6, 7, 8, 91])
    assert corruption.infilled([5, 6, 7, 8, 9], [(0, 1), (2, 3), (3, 4)], 99) == [99, 6, 99, 9]


@pytest.mark.parametrize("tokens", [1, 2, 3, 10, 64, 511])
def test_spans_hide_the_share_asked_for(tokens: int) -> None:
    for seed in range(20):
        spans = corruption.drawn_spans(tokens, 0.15, 3.0, 99, seeded([seed]))
        hidden = [at for start, end in spans for at in range(start, end)]
        assert len(hidden) == len(set(hidden)) == max(1, round(0.15 * tokens))
        assert all(0 <= start < end <= tokens for start, end in spans)
        assert all(one[1] < other[0] for one, other in pairwise(spans))  # shown tokens between
        assert len(spans) == max(1, round(len(hidden) / 3))
    assert len(corruption.drawn_spans(511, 0.15, 3.0, 5, seeded([1]))) == 5  # no more sentinels


def test_disjoint_spans_hold_each_token_once() -> None:
    sets = corruption.disjoint_spans(100, 0.15, 3.0, 99, seeded([1]))
    assert len(sets) == 7
    assert sorted(at for spans in sets for start, end in spans for at in range(start, end)) == list(range(100))
    assert max(map(len, corruption.disjoint_spans(100, 0.15, 3.0, 2, seeded([1])))) <= 2
    assert corruption.disjoint_spans(1, 0.15, 3.0, 9, seeded([1])) == [[(0, 1)]]


def test_infilling_predicts_the_whole_text(models: Callable[[str], Pretrained]) -> None:
    tokenizer, reader = models("bart").tokenizer, models("bart").reader(64)
    task = prepared(models("bart"))
    assert (task.known.objective, task.options.mask_share) == ("infilled", 0.3)
    batch = task.collate(encoded(task, [TEXTS[0]], reader), reader)
    source, target = tokenizer.decode(batch.inputs["input_ids"][0]), tokenizer.decode(batch.inputs["labels"][0])
    assert target == f"<s>{TEXTS[0]}</s>"
    before, behind = source.split("<mask>")
    assert target.startswith(before)
    assert target.endswith(behind)


def test_spans_and_their_targets_make_the_text(models: Callable[[str], Pretrained]) -> None:
    tokenizer, reader = models("seq2seq").tokenizer, models("seq2seq").reader(64)
    task = prepared(models("seq2seq"), mask_share=0.3)
    batch = task.collate(encoded(task, [LONG], reader), reader)
    for source, target in zip(batch.inputs["input_ids"], batch.inputs["labels"], strict=True):
        ids = target[target != -100]
        assert int(ids[-1]) == tokenizer.eos_token_id
        shown, hidden = tokenizer.decode(source), tokenizer.decode(ids).removesuffix("</s>")
        number = 0
        while f"<extra_id_{number}>" in shown:
            inside = hidden.split(f"<extra_id_{number}>")[1].split("<extra_id_")[0]
            shown, number = shown.replace(f"<extra_id_{number}>", inside), number + 1
        assert hidden.endswith(f"<extra_id_{number}>")
        assert shown.replace("<pad>", "").removesuffix("</s>") in LONG


# --- blocks


@pytest.mark.parametrize(("family", "begin"), [("decoder", ["<s>"]), ("gpt2", ["<|endoftext|>"])])
def test_a_decoder_learns_every_token_once(
    family: str, begin: list[str], models: Callable[[str], Pretrained]
) -> None:  # fmt: skip
    tokenizer, reader = models(family).tokenizer, models(family).reader(16)
    task = prepared(models(family))
    features = encoded(task, [LONG, TEXTS[1]], reader)
    first = [feature["input_ids"] for feature in features if feature["row"] == 0]
    assert len(first) > 3
    assert max(map(len, first)) == 16
    counted = [i for feature in features if feature["row"] == 0 for i in task.counted(feature)]
    text = tokenizer(LONG, add_special_tokens=False)["input_ids"]
    assert counted == [*text, tokenizer.eos_token_id]
    assert tokenizer.convert_ids_to_tokens(first[0][:1]) == begin
    assert all(one[-1] == other[0] for one, other in pairwise(first))
    batch = task.collate(features, reader)
    assert batch.targets == sum(len(task.counted(feature)) for feature in features)


def test_documents_are_never_mixed(models: Callable[[str], Pretrained]) -> None:
    task, reader = prepared(models("encoder")), models("encoder").reader(16)
    features = encoded(task, [LONG, *TEXTS], reader)
    assert [feature["row"] for feature in features] == sorted(feature["row"] for feature in features)
    for feature in features:
        text = reader.tokenizer.decode(feature["input_ids"], skip_special_tokens=True)
        assert text in [LONG, *TEXTS][feature["row"]]


def test_special_tokens_written_in_a_text_are_letters(models: Callable[[str], Pretrained]) -> None:
    for family in ("encoder", "decoder", "seq2seq"):
        task, reader = prepared(models(family)), models(family).reader(64)
        feature = encoded(task, ["fox [MASK] </s> <s> <extra_id_0> fox"], reader)[0]
        inside = feature["input_ids"][1:-1]
        special = set(reader.tokenizer.all_special_ids) - {reader.tokenizer.unk_token_id}
        assert not special & set(inside)


def test_a_text_that_cannot_be_learned_is_named(models: Callable[[str], Pretrained]) -> None:
    task, reader = prepared(models("encoder")), models("encoder").reader(64)
    with pytest.raises(DataError, match=r"no token of this text can be learned") as error:
        task.encode({"text": ["fox", "\u200b\u200b"], "__line__": [1, 2], "__file__": ["a.txt", "a.txt"]}, reader)
    assert error.value.where == "a.txt:2"


# --- losses


def test_packed_blocks_have_the_same_loss(models: Callable[[str], Pretrained]) -> None:
    import torch

    pretrained = models("decoder")
    model = load_model(pretrained, prepared(pretrained).head("decoder"), seed=0).eval()
    found = []
    for packing in (False, True):
        task = prepared(pretrained, packing=packing)
        reader = pretrained.reader(64)
        batch = task.collate(encoded(task, list(TEXTS), reader), reader, training=True)
        with torch.no_grad():
            found.append((float(task.loss(model(**batch.inputs), batch)), batch.targets))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.parametrize("family", ["encoder", "decoder", "seq2seq", "bart"])
def test_a_document_is_the_sum_of_its_blocks_however_batched(
    family: str, models: Callable[[str], Pretrained], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrained = models(family)
    task, reader = prepared(pretrained), pretrained.reader(24)
    model = load_model(pretrained, task.head(pretrained.family), seed=0).eval()
    features = encoded(task, [LONG, TEXTS[0]], reader)
    whole = task.predict(model, task.collate(features, reader), reader)
    assert len(whole) == 2
    blocks = [task.predict(model, task.collate([feature], reader), reader)[0] for feature in features]
    for row, prediction in enumerate(whole):
        own = [block for block, feature in zip(blocks, features, strict=True) if feature["row"] == row]
        assert prediction["tokens"] == sum(block["tokens"] for block in own)
        assert prediction["loss"] == pytest.approx(sum(block["loss"] for block in own), rel=1e-4)
        assert prediction["perplexity"] == pytest.approx(math.exp(prediction["loss"] / prediction["tokens"]))
    monkeypatch.setattr(masking, "TOKENS", 30)  # a block at a time
    monkeypatch.setattr("weitiao.tasks.sequences.LOGITS", 1)
    again = task.predict(model, task.collate(features, reader), reader)
    assert [p["loss"] for p in again] == pytest.approx([p["loss"] for p in whole], rel=1e-4)


def test_one_by_one_is_the_pseudo_loglikelihood(models: Callable[[str], Pretrained]) -> None:
    """Salazar et al. 2020, written out with plain transformers."""
    import torch

    pretrained = models("encoder")
    task, reader = prepared(pretrained, one_by_one=True), pretrained.reader(64)
    model = load_model(pretrained, task.head("encoder"), seed=0).eval()
    prediction = task.predict(model, task.collate(encoded(task, [TEXTS[0]], reader), reader), reader)[0]
    ids = reader.tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    total = 0.0
    for at in range(1, ids.shape[1] - 1):
        masked = ids.clone()
        masked[0, at] = reader.tokenizer.mask_token_id
        with torch.no_grad():
            total -= float(model(input_ids=masked).logits[0, at].log_softmax(-1)[ids[0, at]])
    assert prediction["tokens"] == ids.shape[1] - 2
    assert prediction["loss"] == pytest.approx(total, rel=1e-5)


def test_the_hook_leaves_nothing_behind(models: Callable[[str], Pretrained]) -> None:
    pretrained = models("encoder")
    task, reader = prepared(pretrained), pretrained.reader(64)
    model = load_model(pretrained, task.head("encoder"), seed=0).eval()
    batch = task.collate(encoded(task, list(TEXTS), reader), reader)
    task.predict(model, batch, reader)
    assert model(**batch.inputs).logits.shape == (*batch.inputs["input_ids"].shape, len(reader.tokenizer))


# --- options


def test_options_of_other_families_are_refused(models: Callable[[str], Pretrained]) -> None:
    for family, options in (
        ("decoder", {"mask_share": 0.2}), ("decoder", {"whole_words": True}), ("encoder", {"packing": True}),
        ("encoder", {"mean_span": 2.0}), ("seq2seq", {"one_by_one": True}),
    ):  # fmt: skip
        with pytest.raises(RecipeError, match="has no meaning for") as error:
            prepared(models(family), **options)
        assert error.value.where == f"task.{next(iter(options))}"
    with pytest.raises(RecipeError, match="reads 64 here"):
        prepared(models("encoder"), block_length=100)


def test_settled_options_are_settled_again_the_same(models: Callable[[str], Pretrained]) -> None:
    """A resumed run reads the resolved recipe."""
    for family in ("encoder", "decoder", "seq2seq", "bart"):
        once = prepared(models(family))
        again = prepared(models(family), **once.options.model_dump())
        assert (again.options, again.prepared) == (once.options, once.prepared)
        assert "auto" not in once.options.model_dump().values()


def test_a_model_without_tokens_to_hide_with_is_refused(tmp_path: Path) -> None:
    folder = tiny.tiny_t5(tmp_path / "t5", TEXTS)
    with pytest.raises(ModelError, match="neither sentinels") as error:
        prepared(open_pretrained(ModelSettings(source=str(folder)), base=Path()))
    assert "model.new_tokens" in error.value.fix
    added = ModelSettings(source=str(folder), new_tokens=[f"<extra_id_{number}>" for number in (0, 2, 1)])
    task = prepared(open_pretrained(added, base=Path()))
    names = open_pretrained(added, base=Path()).tokenizer.convert_ids_to_tokens(task.known.sentinels)
    assert names == ["<extra_id_0>", "<extra_id_1>", "<extra_id_2>"]


def test_an_unknown_language_is_told(models: Callable[[str], Pretrained]) -> None:
    from datasets import Dataset

    split = Dataset.from_dict({"text": ["我们的法律", "the fox"]})
    _, findings = LanguageModeling(LanguageModelingOptions()).prepare({"train": split}, models("encoder"))
    assert any("knows not" in finding.problem for finding in findings)


def test_chinese_without_jieba_is_masked_by_characters(
    models: Callable[[str], Pretrained], monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets import Dataset

    monkeypatch.setattr("weitiao.tasks.language_modeling.jieba_is_there", lambda: False)
    split = Dataset.from_dict({"text": ["这家酒店"]})
    task, findings = LanguageModeling(LanguageModelingOptions()).prepare({"train": split}, models("encoder"))
    assert task.options.chinese_words == "characters"
    assert any("jieba is not installed" in finding.problem for finding in findings)
    with pytest.raises(RecipeError, match="jieba is not installed"):
        prepared(models("encoder"), chinese_words="jieba")


# --- the unigram model


def test_the_unigram_model_counts_tokens(models: Callable[[str], Pretrained]) -> None:
    from datasets import Dataset

    from weitiao.evaluation.baselines.unigram import Unigram
    from weitiao.evaluation.evaluate import Labelled

    task, reader = prepared(models("decoder")), models("decoder").reader(64)

    def labelled(texts: list[str]) -> Labelled:
        return Labelled("x", Dataset.from_dict({"text": texts}), Dataset.from_list(encoded(task, texts, reader)))

    unigram = Unigram(task)
    train = labelled(["fox fox fox", "fox"])
    unigram.fit({"train": train}, lambda: None)  # type: ignore[arg-type,return-value]
    known, unknown = unigram.predict(labelled(["fox fox", "ship"]))
    assert known["tokens"] == len(reader.tokenizer("fox fox", add_special_tokens=False)["input_ids"]) + 1
    assert known["perplexity"] < 8 < unknown["perplexity"]
    probabilities = np.exp(-unigram._losses)  # type: ignore[operator]
    assert probabilities.sum() == pytest.approx(1)


# --- whole runs


def documents(folder: Path, count: int = 40) -> Path:
    path = folder / "documents.jsonl"
    rows = [{"text": f"{TEXTS[i % 8]} and {TEXTS[(i * 3 + 1) % 8]} {i}"} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("family", ["encoder", "decoder", "seq2seq"])
def test_the_artifact_is_a_model_to_go_on_from(
    family: str, models: Callable[[str], Pretrained], tmp_path: Path, recipe_values: Callable[..., dict[str, Any]]
) -> None:
    import torch
    from safetensors.torch import load_file

    run = train({
        "task": "language-modeling", "model": models(family).source, "data": str(documents(tmp_path)),
        "training": {"epochs": 3, "learning_rate": 3e-3, "batch_size": 8}, "evaluation": {"bootstrap": 20},
        "output": str(tmp_path / "adapted"),
    })  # fmt: skip
    scores = json.loads((run.folder / "scores.json").read_text())["test"]
    primary = scores["scores"]["primary"]
    assert set(scores["baselines"]) == {"the model before training", "a unigram model"}
    before = scores["baselines"]["the model before training"]["values"][primary]["value"]
    assert scores["scores"]["values"][primary]["value"] < before
    assert all(sample["said"] != sample["before"] for sample in scores["samples"])
    text = load(run.artifact).predict([TEXTS[0]])[0]
    assert set(text) == {"loss", "tokens", "perplexity"}

    next_run = train({**recipe_values(family), "model": str(run.artifact), "output": str(tmp_path / "classified")})
    assert next_run.score is not None
    adapted = load_file(run.artifact / "model.safetensors")
    config = json.loads((next_run.artifact / "config.json").read_text())
    assert config["architectures"][0].endswith("ForSequenceClassification")
    pretrained = open_pretrained(ModelSettings(source=str(run.artifact)), base=Path())
    start = load_model(pretrained, load(next_run.artifact).artifact.task.head(pretrained.family), seed=0)
    ends = ("word_embeddings.weight", "embed_tokens.weight", "shared.weight")
    embeddings = next(value for name, value in adapted.items() if name.endswith(ends))
    assert torch.equal(start.get_input_embeddings().weight, embeddings)


def test_a_resumed_run_draws_the_same_masks(models: Callable[[str], Pretrained], tmp_path: Path) -> None:
    """Masks come from the random state that a checkpoint holds; measuring in between takes nothing from it."""
    from weitiao.evaluation.evaluate import score
    from weitiao.loading import load_for_training
    from weitiao.preparation import prepare
    from weitiao.recipe import Recipe
    from weitiao.training.checkpoint import Checkpoints, restore
    from weitiao.training.loop import Training, train_steps

    values = {"task": "language-modeling", "model": models("encoder").source, "data": str(documents(tmp_path))}
    ready = prepare(Recipe(**values, training={"epochs": 2, "learning_rate": 3e-3, "batch_size": 8}))

    def losses(training: Training) -> list[float]:
        return [done.loss for done in train_steps(training)]

    whole, _ = load_for_training(ready)
    straight = losses(whole)
    training, inference = load_for_training(ready)
    begun = [done.loss for _, done in zip(range(3), train_steps(training), strict=False)]
    score(inference, ready.labelled("validation"))
    Checkpoints(tmp_path / "checkpoints").save(training, {})
    resumed, _ = load_for_training(ready)
    restore(resumed, Checkpoints(tmp_path / "checkpoints").newest())  # type: ignore[arg-type]
    assert begun + losses(resumed) == straight


def test_documents_of_a_folder_stay_whole(models: Callable[[str], Pretrained], tmp_path: Path) -> None:
    """Files are cut into pieces, and `data.group: document` keeps those of a file in one split."""
    from weitiao.preparation import prepare
    from weitiao.recipe import Recipe

    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(12):
        sides = "\n\n".join(f"{TEXTS[(number + i) % 8]} {number} {i}." * 5 for i in range(20))
        (folder / f"{number}.{'md' if number % 2 else 'txt'}").write_text(sides)
    data = {"train": str(folder), "group": "document", "validation_size": 0.2, "test_size": 0.2}
    values = {"task": "language-modeling", "model": models("decoder").source, "data": data}
    ready = prepare(Recipe(**values, evaluation={"also": {"general": str(documents(tmp_path))}}))
    files = {name: set(split["__file__"]) for name, split in ready.splits.items()}
    assert not files["train"] & files["validation"]
    assert not files["train"] & files["test"]
    assert sum(len(split) for split in ready.splits.values()) > 12
    assert len(ready.also["general"].rows) == 40


def test_blocks_are_as_long_as_the_recipe_lets_the_model_read(
    recipe_values: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("\n".join(TEXTS * 10))
    values = recipe_values(task="language-modeling", data={"train": str(tmp_path / "a.txt")}, model__max_length=32)
    assert prepare(Recipe(**values)).recipe.task.options.block_length == 32
    values["task"] = {"name": "language-modeling", "block_length": 48}
    with pytest.raises(RecipeError, match=r"48 tokens, but .* reads 32"):
        prepare(Recipe(**values))
