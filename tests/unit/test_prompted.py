"""Classifiers by prompts: label words behind a text, with and without examples in front."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests import tiny
from tests.samples import labelled, reviews, texts
from weitiao import Recipe, check, evaluate, measure_baselines, models, train
from weitiao.errors import ModelError, RecipeError
from weitiao.evaluation.baselines import branches, prompted, similar
from weitiao.evaluation.baselines.branches import grown, likelihoods, reads_together
from weitiao.evaluation.baselines.prompted import (
    EMPTY,
    LabelWords,
    LabelWordsOptions,
    NearestExamples,
    NearestExamplesOptions,
    Prompts,
    as_words,
    pattern_for,
)
from weitiao.evaluation.evaluate import Inference, language_model
from weitiao.preparation import prepare
from weitiao.recipe import ModelSettings

LABELS = ["good_one", "bad_one", "bad_one_too"]
WIDE = {"initializer_range": 0.5, "max_position_embeddings": 256}  # weights as far apart as trained ones
SHOWN = [("the room was lovely", "good_one"), ("the bed was broken", "bad_one"), ("a slow lift", "bad_one_too"),
         ("the room was warm", "good_one")]  # fmt: skip


def opened(folder, **settings):
    """A decoder as it was before training."""
    pretrained = models.open_pretrained(ModelSettings(source=str(folder), **settings), base=folder.parent)
    nothing = Inference(torch.nn.Module(), SimpleNamespace(), None, torch.device("cpu"), "fp32")
    return language_model(pretrained, nothing)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return opened(tiny.tiny_llama(tmp_path_factory.mktemp("decoder") / "model", texts(), **WIDE))


def plain(inference, prompt, tokens):
    """The sum of the tokens' log-probabilities behind a prompt, by one forward pass of transformers."""
    with torch.no_grad():
        logits = inference.model.eval()(input_ids=torch.tensor([prompt + tokens])).logits[0].log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(tokens))


def ids(inference, text, special=True):
    return inference.reader.tokenizer(text, add_special_tokens=special)["input_ids"]


def ended(inference, *words):
    """The tokens of words and of the line break behind an answer."""
    return [ids(inference, f" {word}\n\n", special=False)[: len(ids(inference, f" {word}", special=False)) + 1]
            for word in words]  # fmt: skip


def made(kind, inference, labels=LABELS, **options):
    task = SimpleNamespace(prepared=SimpleNamespace(labels=list(labels)))
    return kind(kind.Options(**options), task, lambda: inference)


def fitted(kind, inference, shown=SHOWN, labels=LABELS, **options):
    baseline = made(kind, inference, labels, **options)
    on = {"train": labelled({"text": text, "label": label} for text, label in shown)}
    baseline.fit(on, lambda: pytest.fail("the model with the task's own head is not needed"))
    return baseline


def asked(baseline, *given):
    return [list(p["probabilities"].values()) for p in baseline.predict(labelled({"text": t} for t in given))]


def softmax(scores):
    likely = np.exp(np.array(scores) - max(scores))
    return likely / likely.sum()


# --- likelihoods of continuations


def test_a_tree_has_each_shared_token_once():
    tree = grown([[5, 6, 7], [5, 6, 8]], [[1], [2, 3], [2, 4]])
    assert tree.ids.tolist() == [5, 6, 7, 2, 8, 2]
    assert tree.parents.tolist() == [-1, 0, 1, 2, 1, 4]
    assert tree.reads.tolist()[:5] == [[2, 1, 0, 0], [2, 2, 0, 1], [3, 3, 0, 1], [2, 2, 0, 2], [3, 4, 0, 2]]
    assert tree.seen.astype(int)[5].tolist() == [1, 1, 0, 0, 1, 1]


@pytest.mark.parametrize("make", [tiny.tiny_llama, tiny.tiny_gpt2])
def test_likelihoods_are_those_of_a_pass_for_each(make, tmp_path):
    inference = opened(make(tmp_path / "model", texts(), initializer_range=0.5))
    prompts = [[ids(inference, f"{text}\nLabel:") for text in (texts(9)[number], "N/A")] for number in range(9)]
    continuations = [ids(inference, word, special=False) for word in (" good", " good room", " a", " bad and good")]
    assert len({len(each) for each in continuations}) > 1
    expected = [[[plain(inference, p, c) for c in continuations] for p in each] for each in prompts]
    assert reads_together(inference, 20, 30)
    for together in (True, False):
        found = likelihoods(inference, prompts, continuations, together=together)
        np.testing.assert_allclose(np.stack(found), expected, atol=1e-3)


def test_passes_are_cut_to_what_fits(decoder, monkeypatch):
    prompts = [[ids(decoder, text)] for text in texts(20)]
    continuations = [[7, 8, 9], [7, 9], [11]]
    whole = likelihoods(decoder, prompts, continuations)
    rows = []
    run = branches._pass
    monkeypatch.setattr(branches, "_pass", lambda i, trees, t: rows.append(len(trees)) or run(i, trees, t))
    for limit, value in (("TOKENS", 100), ("SEEN", 1500), ("LOGITS", 9000)):
        rows.clear()
        with monkeypatch.context() as patched:
            patched.setattr(branches, limit, value)
            np.testing.assert_allclose(likelihoods(decoder, prompts, continuations), whole, atol=1e-4)
        assert sum(rows) == 20, limit
        assert len(rows) > 2, limit


def test_bf16_scores_are_near(decoder):
    prompts, continuations = [[ids(decoder, text)] for text in texts(10)], [[7, 8, 9], [7, 9], [11]]
    whole = np.stack(likelihoods(decoder, prompts, continuations))
    half = np.stack(likelihoods(replace(decoder, precision="bf16"), prompts, continuations))
    assert 0 < np.abs(half - whole).max() < 0.02 * np.abs(whole).max()


def test_a_model_that_reads_no_trees_gets_a_row_for_each(decoder):
    """One that takes no positions, and one that takes them and looks at everything before a token all the same."""
    run = decoder.model.forward

    class Without(torch.nn.Module):
        config = decoder.model.config
        get_output_embeddings = decoder.model.get_output_embeddings

        def forward(self, input_ids, attention_mask, use_cache):
            return run(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)

    class Causal(Without):
        def forward(self, input_ids, attention_mask, use_cache, position_ids=None):
            return run(input_ids=input_ids, use_cache=use_cache)

    for kind in (Without, Causal):
        inference = replace(decoder, model=kind())
        assert not reads_together(inference, 20, 30)
        baseline, usual = fitted(LabelWords, inference), fitted(LabelWords, decoder)
        assert "a pass of its own" in baseline.notes[0]
        assert not usual.notes
        np.testing.assert_allclose(asked(baseline, *texts(5)), asked(usual, *texts(5)), atol=1e-4)


def windowed(folder, window):
    """A GPT-Neo, each second layer of which sees the last `window` tokens only."""
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    shape = {"num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]], "window_size": window}
    return near_sighted(folder, lambda **common: GPTNeoForCausalLM(GPTNeoConfig(**shape, **common)))


def sliding(folder, window):
    """A Mistral that sees the last `window` tokens only."""
    from transformers import MistralConfig, MistralForCausalLM

    shape = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "sliding_window": window}
    return near_sighted(folder, lambda **common: MistralForCausalLM(MistralConfig(**shape, **common)))


def near_sighted(folder, build):
    tiny.tiny_gpt2(folder, texts())
    words = json.loads((folder / "config.json").read_text())["vocab_size"]
    torch.manual_seed(0)
    build(
        vocab_size=words, hidden_size=32, intermediate_size=64, max_position_embeddings=64, initializer_range=0.5,
        bos_token_id=0, eos_token_id=0,
    ).save_pretrained(folder)  # fmt: skip
    return opened(folder)


@pytest.mark.parametrize("make", [windowed, sliding])
def test_a_model_that_sees_a_part_of_a_long_text_is_asked_by_that_part(make, tmp_path):
    inference = make(tmp_path / "model", 24)
    baseline = fitted(LabelWords, inference, calibrate=False, words={"bad_one_too": "slow"})
    words = [ids(inference, f" {word}", special=False) for word in ("good one", "bad one", "slow")]
    assert len(asked(baseline, "a")) == 1
    assert not baseline.notes
    for text in ("and so on " * 8, "a bed and " * 6):
        prompt = ids(inference, f"{text}\nLabel:")
        assert 24 < len(prompt) < 60
        expected = softmax([plain(inference, prompt, tokens) for tokens in words])
        np.testing.assert_allclose(asked(baseline, text)[0], expected, atol=1e-4)
    assert baseline.notes == ["each label is read in a pass of its own: this model does not read several at once"]


def test_many_labels_are_more_than_a_window_sees(tmp_path):
    """No branch is as long as the window, and all of them together are longer."""
    inference = windowed(tmp_path / "model", 24)
    labels = [f"{first} {second}" for first in ("good", "bad", "slow", "room") for second in ("bed", "lift", "one")]
    baseline = fitted(LabelWords, inference, [("a", "good bed")], labels, calibrate=False)
    prompt, words = ids(inference, "a bed\nLabel:"), [ids(inference, f" {label}", special=False) for label in labels]
    assert len(prompt) + max(map(len, words)) <= 24
    expected = softmax([plain(inference, prompt, tokens) for tokens in words])
    np.testing.assert_allclose(asked(baseline, "a bed")[0], expected, atol=1e-4)
    assert "a pass of its own" in baseline.notes[0]


# --- label words


def test_label_words_are_scored_behind_the_text(decoder):
    text = "the room was lovely"
    prompt = ids(decoder, f"{text}\nLabel:")
    words = ended(decoder, *map(as_words, LABELS))
    scores = np.array([plain(decoder, prompt, tokens) for tokens in words])
    np.testing.assert_allclose(asked(fitted(LabelWords, decoder, calibrate=False), text)[0], softmax(scores), atol=1e-4)
    mean = scores / list(map(len, words))
    baseline = fitted(LabelWords, decoder, calibrate=False, length="mean")
    np.testing.assert_allclose(asked(baseline, text)[0], softmax(mean), atol=1e-4)
    empty = [softmax([plain(decoder, ids(decoder, f"{each}\nLabel:"), tokens) for tokens in words]) for each in EMPTY]
    expected = softmax(scores) / np.mean(empty, 0)
    np.testing.assert_allclose(asked(fitted(LabelWords, decoder), text)[0], expected / expected.sum(), atol=1e-4)


def test_a_recipes_pattern_and_words_are_used(decoder):
    options = {"pattern": "Guests said: {text} It was {label}", "words": {"bad_one": "rude", "bad_one_too": "slow"}}
    baseline = fitted(LabelWords, decoder, calibrate=False, **options)
    prompt = ids(decoder, "Guests said: so so It was")
    scores = [plain(decoder, prompt, ids(decoder, f" {word}", special=False)) for word in ("good one", "rude", "slow")]
    np.testing.assert_allclose(asked(baseline, "so so")[0], softmax(scores), atol=1e-4)


def test_predictions_are_as_the_scorer_wants_them(decoder):
    found = list(fitted(LabelWords, decoder).predict(labelled({"text": text} for text in texts(5))))
    for each in found:
        assert list(each["probabilities"]) == LABELS
        assert sum(each["probabilities"].values()) == pytest.approx(1)
        assert each["score"] == each["probabilities"][each["label"]] == max(each["probabilities"].values())


def test_the_pattern_is_of_what_the_texts_are():
    assert pattern_for(labelled([{"text": "good"}])) == "{text}\nLabel: {label}"
    assert pattern_for(labelled([{"text": "房间很干净 ok"}])) == "{text}\n标签：{label}"
    assert pattern_for(labelled([{"text": "a", "text_pair": "b"}])) == "{text}\n{text_pair}\nLabel: {label}"


def test_both_texts_of_a_pair_are_read_and_cut(decoder):
    baseline = made(LabelWords, decoder)
    pair = {"text": "good " * 400, "text_pair": "bad", "label": "good_one"}
    baseline.fit({"train": labelled([pair])}, lambda: None)
    whole = decoder.reader.tokenizer.decode(baseline._prompts.asked(pair, ""))
    assert whole.startswith("<s>")
    assert "good good" in whole
    assert whole.endswith("\nbad\nLabel:")
    assert baseline._prompts.room - 20 < len(baseline._prompts.asked(pair, "")) <= baseline._prompts.room
    assert len(list(baseline.predict(labelled([pair])))) == 1


def test_a_label_whose_words_begin_with_anothers_can_be_the_likeliest(decoder):
    labels = ["11", *(f"11 {number}" for number in range(30))]
    baseline = fitted(LabelWords, decoder, [("so so", label) for label in labels], labels, calibrate=False)
    found = [each["label"] for each in baseline.predict(labelled({"text": text} for text in texts(10)))]
    assert sum(label != "11" for label in found) > 2


def test_where_no_label_begins_another_only_their_words_are_scored(decoder):
    prompts = fitted(LabelWords, decoder, labels=["good_one", "bad_one"])._prompts
    assert prompts.labels == [ids(decoder, f" {word}", special=False) for word in ("good one", "bad one")]


def test_an_answer_ends_by_the_end_of_text_where_line_breaks_are_no_tokens(decoder, monkeypatch):
    monkeypatch.setattr(prompted, "BETWEEN", "")
    labels = fitted(LabelWords, decoder)._prompts.labels
    assert {tokens[-1] for tokens in labels} == {decoder.reader.tokenizer.eos_token_id}


def test_a_text_that_the_pattern_does_not_name_is_not_cut(decoder):
    prompts = Prompts.of("{text} It was {label}", {"a": "good", "b": "bad"}, decoder.reader)
    alone = prompts.asked({"text": "the room " * 200}, "")
    assert prompts.asked({"text": "the room " * 200, "text_pair": "so so " * 2000}, "") == alone
    assert prompts.room - 20 < len(alone) <= prompts.room


def test_a_prompt_asks_about_any_roles(decoder):
    prompts = Prompts.of("{question} {answer} {label}", {"a": "good", "b": "bad"}, decoder.reader)
    assert prompts.asked({"question": "so", "answer": "no"}, "") == ids(decoder, "so no")
    long = prompts.asked({"question": "so", "answer": "the room " * 300}, "")
    assert prompts.room - 20 < len(long) <= prompts.room
    assert prompts.empty("")[0] == ids(decoder, "N/A N/A")


def test_labels_that_read_the_same_are_refused(decoder):
    with pytest.raises(RecipeError, match=r"the label 'so-so' reads as 'so_so'\nGive them different `words`"):
        fitted(LabelWords, decoder, labels=["so_so", "so-so"])
    assert fitted(LabelWords, decoder, labels=["so_so", "so-so"], words={"so-so": "average"})


def test_a_model_that_reads_too_little_is_refused(tmp_path):
    small = opened(tiny.tiny_llama(tmp_path / "small", texts(), max_position_embeddings=16), max_length=16)
    with pytest.raises(ModelError, match="too few for the pattern"):
        fitted(LabelWords, small, pattern="{text} " + "which was " * 20 + "{label}")


# --- examples in front


def test_the_nearest_examples_stand_in_front_the_nearest_last(decoder):
    text = "lovely was the room"
    baseline = fitted(NearestExamples, decoder, examples=2)
    before = "the room was warm\nLabel: good one\n\nthe room was lovely\nLabel: good one\n\n"
    words = ended(decoder, *map(as_words, LABELS))

    def scores(given):
        prompt = ids(decoder, f"{before}{given}\nLabel:")
        return softmax([plain(decoder, prompt, tokens) for tokens in words])

    np.testing.assert_allclose(asked(baseline, text)[0], scores(text), atol=1e-4)
    expected = scores(text) / np.mean([scores(each) for each in EMPTY], 0)
    calibrated = fitted(NearestExamples, decoder, examples=2, calibrate=True)
    np.testing.assert_allclose(asked(calibrated, text)[0], expected / expected.sum(), atol=1e-4)
    assert calibrated.notes == []


def test_of_texts_that_are_equally_near_the_first_is_taken():
    known = similar.Similar(["a b", "c", "a b", "d", "a"], str.split)
    places, near = known.nearest(["a b", "x", ""], 4)
    assert places.tolist() == [[0, 2, 4, 1], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert near[0, 1] == pytest.approx(1)
    assert (near[0, 3], near[1].max()) == (0, 0)
    assert known.nearest(["d"], 9)[0].tolist() == [[3, 0, 1, 2, 4]]


def test_white_space_around_a_label_does_not_count(decoder):
    padded = [(text, f" {label} ") for text, label in SHOWN]
    usual = asked(fitted(NearestExamples, decoder), "so so")
    assert asked(fitted(NearestExamples, decoder, padded), "so so") == usual


def test_as_many_examples_as_fit(decoder):
    long = [(f"{text} {'and so on ' * 20}", label) for text, label in SHOWN]
    baseline = fitted(NearestExamples, decoder, long, examples=4)
    assert len(asked(baseline, "the room was lovely", "a bed")) == 2
    assert baseline.notes[0].startswith("2 of 2 prompts have fewer than 4 examples")
    assert set(baseline._counts) <= {1, 2, 3}
    prompts: Prompts = baseline._prompts
    shown = [prompts.shown({"text": text, "label": label}) for text, label in long]
    kept = prompts.fitting({"text": "a bed"}, shown, empty=False)
    assert kept == shown[: len(kept)]
    assert len(prompts.asked({"text": "a bed"}, "".join(kept))) <= prompts.room


def test_texts_without_content_fit_behind_the_examples_too(tmp_path):
    """They may be longer than the text."""
    small = opened(tiny.tiny_gpt2(tmp_path / "model", texts(), n_positions=64))
    for many in range(1, 25):
        shown = [("the " * many, "good_one"), ("bed " * many, "bad_one")]
        baseline = fitted(NearestExamples, small, shown, examples=2, calibrate=True)
        asked(baseline, "a", "the")
        longest = [max(map(len, baseline._prompts.empty("".join(before)))) for _, before in
                   baseline._shown([{"text": "a"}, {"text": "the"}])]  # fmt: skip
        assert max(longest) <= baseline._prompts.room


def test_a_model_that_takes_no_text_without_content_is_refused(tmp_path):
    for positions in range(12, 40):
        small = opened(tiny.tiny_gpt2(tmp_path / str(positions), texts(), n_positions=positions))
        try:
            baseline = fitted(LabelWords, small)
        except ModelError:
            continue
        break
    assert len(asked(baseline, "a")) == 1
    assert positions > 12


def test_training_is_sampled_where_it_is_large(decoder, monkeypatch):
    monkeypatch.setattr(similar, "MOST_TEXTS", 3)
    baseline = fitted(NearestExamples, decoder)
    assert baseline.notes == ["knows a random 3 of the 4 training examples"]
    assert len(baseline._texts) == 3
    assert len(asked(baseline, "so so")) == 1


# --- in a recipe


def write(folder, rows=60, labels=2, name="reviews.csv"):
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *reviews(rows, labels=labels)])
    return folder / name


@pytest.fixture
def recipe(tmp_path):
    """A recipe that asks a tiny decoder."""
    model = tiny.tiny_llama(tmp_path / "model", texts(), initializer_range=0.5, max_position_embeddings=128)

    def make(*, task="text-classification", model=model, data=None, max_length="auto", **evaluation):
        return Recipe(
            task=task, model={"source": str(model), "max_length": max_length},
            data=data or {"train": str(write(tmp_path)), "test_size": 0.3}, training={"epochs": 1, "precision": "fp32"},
            output=str(tmp_path / "run"), evaluation={"bootstrap": 50, **evaluation},
        )  # fmt: skip

    return make


def test_they_stand_beside_the_trained_model(recipe):
    run = train(recipe(prompted=["label-words", {"name": "nearest-examples", "examples": 2}]))
    stored = json.loads((run.folder / "scores.json").read_text())["test"]
    assert list(stored["baselines"]) == ["majority class", "TF-IDF + logistic regression", "label words",
                                         "nearest examples in the prompt"]  # fmt: skip
    assert [each["knows"] for each in stored["baselines"].values()] == ["answers", "examples", "before training",
                                                                       "examples"]  # fmt: skip
    assert len(stored["comparisons"]) == 4
    assert all(answer["before"] for answer in stored["samples"])
    assert "nearest examples in the prompt" in (run.folder / "report.html").read_text()


def test_what_they_note_is_told_once_for_each_split(recipe, tmp_path):
    (tmp_path / "other").mkdir()
    data = {"train": str(write(tmp_path)), "test_size": 0.3}
    asked = {"name": "nearest-examples", "examples": 40}
    run = train(recipe(prompted=[asked], data=data, also={"other": str(write(tmp_path / "other"))}))
    stored = json.loads((run.folder / "scores.json").read_text())
    for split in ("test", "other"):
        notes = [note for note in stored[split]["notes"] if "no more fit into" in note]
        assert len(notes) == 1, stored[split]["notes"]
        assert "have fewer than 40 examples" in notes[0]


def test_a_run_measured_again_asks_the_same(recipe, tmp_path):
    """What the recipe cuts examples at is for the trained model, and not for prompts."""
    made = recipe(prompted=[{"name": "nearest-examples", "examples": 4}], max_length=12,
                  data={"train": str(write(tmp_path)), "test": str(write(tmp_path, 30, name="test.csv"))})  # fmt: skip
    run = train(made)
    stored = json.loads((run.folder / "scores.json").read_text())["test"]
    again = evaluate(run.folder, str(tmp_path / "test.csv")).to_dict()
    name = "nearest examples in the prompt"
    assert again["baselines"][name]["values"] == stored["baselines"][name]["values"]
    assert not any("no more fit" in note for note in [*stored["notes"], *again["notes"]])


def test_one_that_fails_when_it_is_asked_is_left_out_with_a_note(recipe, monkeypatch):
    def refuse(self, on):
        raise ModelError("cannot be asked", where="model", fix="Take another.")
        yield

    monkeypatch.setattr(LabelWords, "predict", refuse)
    asked = recipe(prompted=["label-words"])
    alone = measure_baselines(asked)
    stored = json.loads((train(asked).folder / "scores.json").read_text())["test"]
    assert alone.notes[-1] == stored["notes"][-1] == "label words: not measured, cannot be asked"
    assert [each.name for each in alone.measured] == list(stored["baselines"])
    assert len(alone.measured) == 2


def test_what_was_said_before_training_is_of_the_first_one_asked(recipe, monkeypatch):
    said = iter(["good", "bad"])

    def always(self, on):
        label = next(said)
        yield from ({"label": label, "score": 1.0, "probabilities": {"good": 0.5, "bad": 0.5}} for _ in on.rows)

    monkeypatch.setattr(LabelWords, "predict", always)
    run = train(recipe(prompted=["label-words", "label-words"]))
    stored = json.loads((run.folder / "scores.json").read_text())["test"]
    assert [answer["before"] for answer in stored["samples"]] == [["good"]] * 8


def test_none_where_no_baselines_are_wanted(recipe):
    run = train(recipe(prompted=["label-words"], baselines=False))
    assert json.loads((run.folder / "scores.json").read_text())["test"]["baselines"] == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pattern": "{text} is it?"}, "does not have {text} or {text_pair} before one {label} at its end"),
        ({"pattern": "{text}: {label}!"}, "before one {label} at its end"),
        ({"pattern": "What? {label}"}, "does not have {text}"),
        ({"pattern": "{review} {label}"}, "the prompt has {review}, which is no role"),
        ({"pattern": "{text.upper} {label}"}, "is no name of a role"),
        ({"words": {"god": "great"}}, "words are given for 'god', which is no label"),
        ({"words": {"good": " "}}, "the label 'good' has no words"),
        ({"words": {"good": "so-so", "bad": "so-so"}}, "the label 'good' reads as 'bad'"),
        ({"pattern": "{text} " + "which was " * 99 + "{label}"}, "it takes 128 tokens, too few for the pattern"),
        ({"words": {"good": "lovely " * 130}}, "it takes 128 tokens, too few for the pattern"),
    ],
)
def test_a_wrong_pattern_or_word_is_refused_before_training(recipe, options, said):
    with pytest.raises(RecipeError) as refused:
        prepare(recipe(prompted=[{"name": "label-words", **options}]))
    assert said in str(refused.value)
    assert "evaluation.prompted[0]" in str(refused.value)


def test_an_unknown_name_or_option_is_refused_with_the_nearest(recipe):
    with pytest.raises(RecipeError, match=r"(?s)evaluation.prompted\[1\].*unknown prompted 'label-word'.*label-words"):
        recipe(prompted=["nearest-examples", "label-word"])
    with pytest.raises(RecipeError, match="shots"):
        recipe(prompted=[{"name": "nearest-examples", "shots": 4}])


def test_what_cannot_be_asked_is_refused(recipe, tmp_path):
    asked = {"prompted": ["label-words"]}
    with pytest.raises(RecipeError, match=r"asks a decoder what comes next; .* is no decoder"):
        prepare(recipe(model=tiny.tiny_bert(tmp_path / "bert", texts()), **asked))
    several = tmp_path / "several.jsonl"
    several.write_text("".join(json.dumps({"text": f"{text} {number}", "label": [label]}) + "\n"
                               for number, (text, label) in enumerate(reviews(40))))  # fmt: skip
    with pytest.raises(RecipeError, match="asks which one label a text has"):
        prepare(recipe(data={"train": str(several), "test_size": 0.3}, **asked))
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("text,score\n" + "".join(f"visit {n},{n / 7}\n" for n in range(40)))
    with pytest.raises(RecipeError, match="that is not what 'text-regression' learns"):
        prepare(recipe(task="text-regression", data={"train": str(numbers), "test_size": 0.3}, **asked))


def test_a_decoder_without_its_head_is_refused(recipe, tmp_path):
    from transformers import AutoModel, AutoTokenizer

    whole = tiny.tiny_llama(tmp_path / "whole", texts())
    AutoModel.from_pretrained(whole).save_pretrained(tmp_path / "body")
    AutoTokenizer.from_pretrained(whole).save_pretrained(tmp_path / "body")
    with pytest.raises(RecipeError, match="has no head of a language model"):
        prepare(recipe(model=tmp_path / "body", prompted=["label-words"]))


def test_they_are_measured_without_training(recipe, capsys, tmp_path):
    from typer.testing import CliRunner

    from weitiao.cli.main import app

    asked = recipe(prompted=["label-words", {"name": "label-words", "pattern": "{text} It was {label}"}])
    found = measure_baselines(asked)
    assert [each.name for each in found.measured] == ["majority class", "TF-IDF + logistic regression",
                                                      "label words (1)", "label words (2)"]  # fmt: skip
    assert (found.split, found.examples) == ("test", 18)
    assert all(each.scores.examples == 18 and each.seconds > 0 for each in found.measured)
    assert not (tmp_path / "run").exists()
    asked.store(tmp_path / "stored.json")
    (tmp_path / "recipe.json").write_text(json.dumps(asked.to_dict()))
    told = CliRunner().invoke(app, ["baselines", str(tmp_path / "recipe.json")], catch_exceptions=False)
    assert told.exit_code == 0
    assert "18 examples of test" in told.output
    assert "label words (2)" in told.output
    told = CliRunner().invoke(app, ["baselines", str(tmp_path / "recipe.json"), "--json"], catch_exceptions=False)
    assert [each["name"] for each in json.loads(told.stdout)["baselines"]] == [each.name for each in found.measured]


def test_without_a_split_to_measure_on_nothing_is_measured(recipe, tmp_path):
    data = {"train": str(write(tmp_path)), "validation_size": 0, "test_size": 0}
    with pytest.raises(RecipeError, match="no validation or test split to measure on"):
        measure_baselines(recipe(data=data))


def test_a_forecast_counts_them(recipe):
    """By about what they read."""
    seconds = [check(recipe(prompted=asked)).facts["forecast"]["last"] for asked in ([], ["label-words"] * 20)]
    assert seconds[1] > 1.5 * seconds[0]


def test_more_is_read_with_examples_in_front_and_many_labels():
    few, many = ({"text": 20, "shown": 20, "labels": labels, "most": 512} for labels in (2, 77))
    plain, shown = LabelWordsOptions(), NearestExamplesOptions()
    read = [LabelWords.reads(plain, **few), LabelWords.reads(plain, **many), NearestExamples.reads(shown, **many)]
    assert read == sorted(read)
    assert NearestExamples.reads(shown, **many) > NearestExamples.reads(NearestExamplesOptions(examples=1), **many)


def test_no_more_is_read_than_the_model_takes_and_the_labels():
    much = {"text": 900, "shown": 900, "labels": 2, "most": 128}
    for kind in (LabelWords, NearestExamples):
        assert 128 < kind.reads(kind.Options(), **much) < 140
