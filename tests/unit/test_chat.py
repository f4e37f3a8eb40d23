"""Chat: dialogues to tokens and masks, replies, scores, errors, and that the artifact asks as training did."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset

from tests import tiny
from weitiao import evaluate, load, models, train
from weitiao.cli.main import main
from weitiao.errors import DataError, ModelError, RecipeError
from weitiao.preparation import prepare
from weitiao.recipe import ModelSettings, Recipe
from weitiao.records import FILE, LINE, Pretrained, Reader
from weitiao.tasks import replies
from weitiao.tasks.chat import Chat, ChatOptions, spoken

TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "where is the room"},
    {"role": "assistant", "content": "it was too small"},
    {"role": "user", "content": "was the film good"},
    {"role": "assistant", "content": "very good"},
]
CALL = {"type": "function", "function": {"name": "card", "arguments": {"new": True}}}
TOOL = {"type": "function", "function": {"name": "card", "parameters": {}}}
LENGTH = 200


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for family in ("decoder", "seq2seq"):
        made[family] = tmp_path_factory.mktemp("chat") / family
        if family == "decoder":
            tiny.tiny_llama(made[family], max_position_embeddings=LENGTH)
        else:
            tiny.tiny_t5(made[family])
        settings = made[family] / "tokenizer_config.json"
        settings.write_text(json.dumps({**json.loads(settings.read_text()), "model_max_length": LENGTH}))
    return made


@pytest.fixture
def opened(folders: dict[str, Path]) -> Callable[..., tuple[Chat, Pretrained]]:
    """Family, options -> the prepared task and its model."""

    def build(family: str = "decoder", **options: Any) -> tuple[Chat, Pretrained]:
        pretrained = models.open_pretrained(ModelSettings(source=str(folders[family])), base=Path())
        task, _ = Chat(ChatOptions.model_validate(options)).prepare({}, pretrained)
        return task, pretrained

    return build


def rows(*dialogues: Any, **more: list[Any]) -> dict[str, list[Any]]:
    """Dialogues as a table has them."""
    texts = [json.dumps(dialogue) for dialogue in dialogues]
    lines = list(range(1, len(texts) + 1))
    return {"messages": texts, **more, LINE: lines, FILE: ["talk.jsonl"] * len(texts)}


def features(encoded: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]


def learned(feature: dict[str, Any], reader: Reader) -> str:
    return str(reader.tokenizer.decode([label for label in feature["labels"] if label != -100]))


def model_of(pretrained: Pretrained, task: Chat) -> torch.nn.Module:
    return models.load_model(pretrained, task.head(pretrained.family), seed=0).eval()


# --- what is learned


def test_all_turns_of_the_assistant_are_learned_and_the_last_one_is_asked_for(opened: Any) -> None:
    task, pretrained = opened()
    reader = pretrained.reader(LENGTH)
    (feature,) = features(task.encode(rows(TALK), reader))
    assert learned(feature, reader) == "it was too small</s>very good</s>"
    text = reader.tokenizer.decode(feature["prompt"])
    assert text.startswith("<s>User:\nwhere is the room")
    assert text.endswith("Assistant:\nit was too small</s>\n\nUser:\nwas the film good\n\nAssistant:\n")
    assert feature["input_ids"][: len(feature["prompt"])] == feature["prompt"]


def test_only_the_last_turn(opened: Any) -> None:
    task, pretrained = opened(turns="last")
    reader = pretrained.reader(LENGTH)
    assert [learned(f, reader) for f in features(task.encode(rows(TALK), reader))] == ["very good</s>"]


def test_an_encoder_decoder_learns_a_reply_at_a_time(opened: Any) -> None:
    task, pretrained = opened("seq2seq")
    reader = pretrained.reader(LENGTH)
    first, last = features(task.encode(rows(TALK), reader))
    assert [learned(f, reader) for f in (first, last)] == ["it was too small</s>", "very good</s>"]
    assert first["prompt"] == []
    assert last["prompt"] == last["input_ids"]
    assert last["row"] == first["row"] == 0


def test_what_follows_the_last_reply_of_a_file_takes_no_part_but_is_answered_when_asked(opened: Any) -> None:
    task, pretrained = opened()
    reader = pretrained.reader(LENGTH)
    table = rows(TALK[:3])
    (known,) = features(task.encode(table, reader))
    (asked,) = features(task.encode({"messages": table["messages"]}, reader))
    assert learned(known, reader) == "it was too small</s>"
    assert "film" not in reader.tokenizer.decode(known["prompt"])
    assert learned(asked, reader) == ""
    assert "film" in reader.tokenizer.decode(asked["prompt"])


def test_a_system_prompt_for_dialogues_that_have_none(opened: Any) -> None:
    task, pretrained = opened(system="the hotel")
    reader = pretrained.reader(LENGTH)
    own = [{"role": "system", "content": "a book"}, *TALK[:2]]
    without, has = features(task.encode(rows(TALK[:2], own), reader))
    assert reader.tokenizer.decode(without["input_ids"]).startswith("<s>the hotel\n\nUser:")
    assert reader.tokenizer.decode(has["input_ids"]).startswith("<s>a book\n\nUser:")
    (asked,) = features(task.encode({"messages": ["where is my card"]}, reader))
    assert reader.tokenizer.decode(asked["prompt"]).startswith("<s>the hotel\n\nUser:\nwhere is my card")


def test_tools_and_calls_are_read_and_learned(opened: Any) -> None:
    task, pretrained = opened()
    reader = pretrained.reader(LENGTH)
    dialogue = [TALK[0], {"role": "assistant", "content": "", "tool_calls": [CALL]}]
    (feature,) = features(task.encode(rows(dialogue, tools=[json.dumps([TOOL])]), reader))
    assert '"name": "card"' in reader.tokenizer.decode(feature["prompt"])
    assert json.loads(learned(feature, reader).split("\n")[1]) == CALL["function"]


def test_turns_of_weight_0_are_read_only(opened: Any) -> None:
    task, pretrained = opened()
    reader = pretrained.reader(LENGTH)
    (feature,) = features(task.encode(rows([TALK[0], {**TALK[1], "weight": 0}, *TALK[2:]]), reader))
    assert learned(feature, reader) == "very good</s>"
    with pytest.raises(DataError, match="no reply of the assistant to learn") as caught:
        task.encode(rows(TALK, [TALK[0], {**TALK[1], "weight": 0}]), reader)
    assert caught.value.where == "talk.jsonl:2"


def test_a_reply_that_does_not_fit_leaves_no_feature(opened: Any) -> None:
    task, pretrained = opened()
    long = [TALK[0], {"role": "assistant", "content": "too small " * 60}]
    found = features(task.encode(rows(TALK, long), pretrained.reader(64)))
    assert {feature["row"] for feature in found} == {0}
    assert all(len(feature["input_ids"]) <= 64 for feature in found)


# --- losses and replies


@pytest.mark.parametrize("family", ["decoder", "seq2seq"])
def test_loss_is_that_of_transformers(family: str, opened: Any) -> None:
    task, pretrained = opened(family)
    batch = task.collate(features(task.encode(rows(TALK, TALK[:2]), pretrained.reader(LENGTH))),
                         pretrained.reader(LENGTH))  # fmt: skip
    model = model_of(pretrained, task)
    with torch.inference_mode():
        ours = task.loss(model(**batch.inputs), batch) / batch.targets
        theirs = model(**{**batch.inputs, "labels": batch.labels}).loss
    assert float(ours) == pytest.approx(float(theirs), abs=1e-5)


def test_packing_changes_rows_and_not_the_loss(opened: Any) -> None:
    task, pretrained = opened(packing=True)
    reader = pretrained.reader(LENGTH)
    model = model_of(pretrained, task)
    task.examine(model)
    given = features(task.encode(rows(TALK, TALK[:2], TALK[2:]), reader))
    apart, together = task.collate(given, reader), task.collate(given, reader, training=True)
    assert together.inputs["input_ids"].shape[0] < apart.inputs["input_ids"].shape[0] == 3
    assert together.targets == apart.targets
    with torch.inference_mode():
        losses = [float(task.loss(model(**batch.inputs), batch)) for batch in (apart, together)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_packing_is_refused_where_dialogues_would_see_one_another(opened: Any) -> None:
    from transformers import OPTConfig, OPTForCausalLM

    with pytest.raises(RecipeError, match="one source at a time") as caught:
        opened("seq2seq", packing=True)
    assert caught.value.where == "task.packing"
    sizes = {"hidden_size": 16, "ffn_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    task, _ = opened(packing=True)
    with pytest.raises(ModelError, match="neighbours"):
        task.examine(OPTForCausalLM(OPTConfig(**sizes, word_embed_proj_dim=16, vocab_size=70)))


@pytest.mark.parametrize("family", ["decoder", "seq2seq"])
def test_replies_and_losses_of_known_and_asked_dialogues(family: str, opened: Any) -> None:
    task, pretrained = opened(family, generation={"max_new_tokens": 5})
    reader = pretrained.reader(LENGTH)
    model = model_of(pretrained, task)
    batch = task.collate(features(task.encode(rows(TALK, TALK[:2]), reader)), reader)
    first, second = task.predict(model, batch, reader)
    assert set(first) == set(second) == {"text", "loss", "tokens"}
    counts = [sum(label != -100 for f in batch.features if f["row"] == row for label in f["labels"]) for row in (0, 1)]
    assert [first["tokens"], second["tokens"]] == counts
    with torch.inference_mode():
        whole = float(task.loss(model(**batch.inputs), batch))
    assert first["loss"] + second["loss"] == pytest.approx(whole, rel=1e-4)
    asked = task.collate(features(task.encode({"messages": ["where is it"]}, reader)), reader)
    (answer,) = task.predict(model, asked, reader)
    assert set(answer) == {"text"}


def test_nothing_is_generated_unless_asked_for(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("generates")

    monkeypatch.setattr(replies, "generate", refuse)
    for metric, generates in (("perplexity", False), ("chrf", True)):
        task, pretrained = opened(metric=metric)
        reader = pretrained.reader(LENGTH)
        batch = task.collate(features(task.encode(rows(TALK), reader)), reader)
        if generates:
            with pytest.raises(AssertionError, match="generates"):
                task.predict(model_of(pretrained, task), batch, reader, answers=False)
        else:
            assert set(task.predict(model_of(pretrained, task), batch, reader, answers=False)[0]) == {"loss", "tokens"}


def test_scores_are_of_the_last_reply_and_the_loss_of_all() -> None:
    example = {"messages": json.dumps(TALK), LINE: 1, FILE: "talk.jsonl"}
    scorer = Chat(ChatOptions(metric="rougeL")).scorer()
    scorer.add([example, example], [{"text": "very good", "loss": 2.0, "tokens": 2},
                                    {"text": "bad", "loss": 4.0, "tokens": 2}])  # fmt: skip
    scores = scorer.scores()
    assert scores.primary == "rougeL"
    assert scores.greater_is_better
    assert scores.main == pytest.approx(0.5)
    assert scores.values["loss"].value == pytest.approx(1.5)
    told = scorer.tell(example, {"text": "very good"})
    assert told.expected == told.said == ["very good"]
    assert told.given == "user: where is the room\nassistant: it was too small\nuser: was the film good"
    assert not Chat(ChatOptions()).scorer().scores().greater_is_better


def test_a_tool_call_is_told_as_it_is_written() -> None:
    message = {"role": "assistant", "content": "a moment", "tool_calls": [CALL]}
    assert spoken(message) == 'a moment\n<tool_call>\n{"name": "card", "arguments": {"new": true}}\n</tool_call>'


# --- bad input


WRONG = {
    "starts with the assistant": [{"role": "assistant", "content": "hello"}, *TALK[:2]],
    "the assistant speaks twice in a row": [*TALK[:2], TALK[3]],
    "unknown role": [{"role": "usr1", "content": "hi"}, TALK[1]],
    "the assistant's turn is empty": [TALK[0], {"role": "assistant", "content": " "}],
    "the assistant never speaks": [TALK[0]],
}


@pytest.mark.parametrize("problem", WRONG)
def test_wrong_dialogues_are_named(problem: str, tmp_path: Path, folders: dict[str, Path]) -> None:
    data = tmp_path / "talk.jsonl"
    data.write_text("\n".join(json.dumps({"messages": m}) for m in (TALK, TALK[:2], WRONG[problem])))
    with pytest.raises(DataError, match=problem) as caught:
        prepare(Recipe(task="chat", model=str(folders["decoder"]), data=str(data)))
    assert caught.value.where.startswith("talk.jsonl:3 (messages")


def test_an_empty_target_of_an_alpaca_row_is_named(tmp_path: Path, folders: dict[str, Path]) -> None:
    data = tmp_path / "alpaca.json"
    data.write_text(json.dumps([{"instruction": "say it", "input": "", "output": said} for said in ("it", "")]))
    with pytest.raises(DataError, match="turn is empty") as caught:
        prepare(Recipe(task="chat", model=str(folders["decoder"]), data=str(data)))
    assert caught.value.where == "alpaca.json:2 (output)"


# --- a whole run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, folders: dict[str, Path]) -> Any:
    folder = tmp_path_factory.mktemp("run")
    asked = [f"{what} the {which}" for what in ("where is", "was it", "is that") for which in tiny.TEXTS[0].split()]
    lines = [{"messages": [{"role": "user", "content": text}, TALK[1]]} for text in asked]
    lines.append({"messages": [TALK[0], {"role": "assistant", "content": "too small " * 300}]})
    (folder / "talk.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return train(Recipe(
        task={"name": "chat", "system": "you are kind", "generation": {"max_new_tokens": 6}},
        model=str(folders["decoder"]), data={"train": str(folder / "talk.jsonl"), "test_size": 0.2}, method="lora",
        training={"epochs": 2, "batch_size": 8, "learning_rate": 1e-2}, evaluation={"bootstrap": 20},
        output=str(folder / "run"),
    ))  # fmt: skip


def test_a_run_stands_beside_the_model_before_training(run: Any) -> None:
    scores = json.loads((run.folder / "scores.json").read_text())["test"]
    (before,) = scores["baselines"].values()
    assert scores["scores"]["primary"] == "perplexity"
    assert scores["scores"]["values"]["perplexity"]["value"] < before["values"]["perplexity"]["value"]
    assert {"loss", "rougeL", "chrf"} <= set(scores["scores"]["values"])
    assert all(sample["said"] and sample["before"] for sample in scores["samples"])
    findings = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    assert any("do not fit and are left out" in event.get("problem", "") for event in findings)
    assert any("no chat template" in event.get("problem", "") for event in findings)


def test_the_artifact_stops_where_replies_end(run: Any) -> None:
    config = json.loads((run.artifact / "generation_config.json").read_text())
    assert config["eos_token_id"] == [2]
    assert config["max_new_tokens"] == 6


def test_predictions_take_texts_messages_and_rows(run: Any) -> None:
    predictor = load(run.artifact)
    user = {"role": "user", "content": "where is the room"}
    forms: list[Any] = ["where is the room", [user], {"messages": [user]},
                        {"instruction": "where is the room", "input": ""},
                        {"conversations": [{"from": "human", "value": "where is the room"}]}]  # fmt: skip
    answers = predictor.predict(forms)
    assert all(set(answer) == {"text"} for answer in answers)
    assert len({answer["text"] for answer in answers}) == 1
    (known,) = predictor.predict([{"messages": TALK[:2]}])
    assert known["text"] == answers[0]["text"]
    assert known["tokens"] > 0
    with pytest.raises(DataError, match="speaks first"):
        predictor.predict([[TALK[1]]])
    with pytest.raises(DataError, match="turn is empty"):
        predictor.predict([""])


def test_predict_on_the_command_line(run: Any, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def weitiao(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["weitiao", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert not ended.value.code, said.err
        return str(said.out)

    assert set(json.loads(weitiao("predict", str(run.folder), "where is the room"))) == {"text"}
    asked = [{"id": 1, "instruction": "where is the room"}, {"id": 2, "instruction": "was it good", "input": "yes"}]
    given = tmp_path / "asked.jsonl"
    given.write_text("\n".join(map(json.dumps, asked)))
    found = [json.loads(line) for line in weitiao("predict", str(run.folder), str(given)).splitlines()]
    assert [row["id"] for row in found] == [1, 2]
    assert all(isinstance(row["text"], str) and "messages" not in row for row in found)


def test_evaluate_on_another_file(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "other.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": f"was {n} good", "completion": "very good"}) for n in range(3)))
    found = evaluate(run.folder, str(file))
    assert found.scores.examples == 3
    assert found.comparisons, found.notes


REPLAY = """
import json, sys
sys.modules["weitiao"] = None
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
print(json.dumps([list(tokenizer.apply_chat_template(m, add_generation_prompt=True, return_dict=True)["input_ids"])
                  for m in json.loads(sys.argv[2])]))
"""


@pytest.mark.parametrize("family", ["decoder", "seq2seq"])
def test_prompts_of_training_are_those_of_the_artifact_and_of_plain_transformers(
    family: str, opened: Any, tmp_path: Path
) -> None:
    """Token by token: as trained, through what was saved, and through transformers where weitiao is not there."""
    task, pretrained = opened(family, system="you are kind")
    dialogues = [TALK[:2], TALK, [*TALK[:2], {"role": "user", "content": "这本书好吗 <s> x"}, TALK[3]]]
    trained = [f["prompt"] for f in features(task.encode(rows(*dialogues), pretrained.reader(LENGTH))) if f["prompt"]]
    pretrained.tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(pretrained.config.to_dict()))
    saved = models.open_reader(tmp_path, LENGTH)
    asked = {"messages": [json.dumps(dialogue[:-1]) for dialogue in dialogues]}
    again = Chat(task.options, task.prepared).encode(asked, saved)["prompt"]
    assert again == trained
    system = {"role": "system", "content": "you are kind"}
    plain = json.dumps([[system, *dialogue[:-1]] for dialogue in dialogues[:2]])
    done = subprocess.run([sys.executable, "-c", REPLAY, str(tmp_path), plain], capture_output=True, text=True)
    assert json.loads(done.stdout) == trained[:2], done.stderr[-2000:]


@pytest.mark.parametrize(
    ("system", "more", "told"),
    [
        (None, {}, ""),
        ("be kind", {}, "system messages"),
        (None, {"tools": [json.dumps([{"name": "look"}])]}, "tools"),
        (None, {"messages": [{"role": "system", "content": "be kind"}, *TALK]}, "system messages"),
        (None, {"messages": [*TALK, {"role": "tool", "content": "12"}]}, "tool results"),
        (None, {"messages": [TALK[0], {"role": "assistant", "tool_calls": [{"name": "look"}]}]}, "tool calls"),
        (None, {"messages": [{"role": "user", "content": 'say {"role": "tool", "tool_calls": [1]}'}, TALK[1]]}, ""),
    ],
)
def test_what_a_template_cannot_write_is_told_where_some_dialogue_has_it(
    opened: Any, system: str | None, more: dict[str, Any], told: str
) -> None:
    task, pretrained = opened(**({"system": system} if system else {}))
    pretrained.tokenizer.chat_template = "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}{{ m.role + \
        ': ' + (m.content or '') + '\n' }}{% endif %}{% endfor %}"
    messages = [json.dumps(TALK), json.dumps(more.get("messages", TALK))]
    columns = {"messages": messages} | ({"tools": [None, *more["tools"]]} if "tools" in more else {})
    _, findings = task.prepare({"train": Dataset.from_dict(columns)}, pretrained)
    found = [f.problem for f in findings if "cannot write" in f.problem]
    assert found == ([f"it cannot write {told}: they are put into the turns beside them"] if told else [])


def test_usage_tells_what_a_template_leaves_out(opened: Any) -> None:
    task, pretrained = opened(system="be kind")
    assert '"role": "system"' in task.usage("decoder").replace("'", '"')
    pretrained.tokenizer.chat_template = (  # no system messages, and no opening of a reply
        "{{ bos_token }}{% for m in messages %}{% if m.role != 'system' %}{{ m.role + ': ' + m.content + '\\n' }}"
        "{% endif %}{% endfor %}"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained.tokenizer, "save_pretrained", SimpleNamespace())
        told, findings = task.prepare({}, pretrained)
    assert "be kind" in told.usage("decoder")
    assert '"role": "system"' not in told.usage("decoder").replace("'", '"')
    assert "'assistant: '" in told.usage("decoder")
    assert any("opens no reply" in finding.problem for finding in findings)
