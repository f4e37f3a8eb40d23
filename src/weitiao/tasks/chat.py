"""Chat: what an assistant says, learned from instructions and dialogues of any number of turns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from weitiao.data.dialogue import messages_of, tools_of
from weitiao.data.formats.base import Layout
from weitiao.metrics.texts import TextScorer
from weitiao.recipe import Settings
from weitiao.records import (
    UNTRAINED,
    Batch,
    Column,
    Example,
    Family,
    Finding,
    Head,
    Modality,
    Prediction,
    Pretrained,
    Reader,
    SplitName,
)
from weitiao.tasks import base
from weitiao.tasks.chat_template import SYSTEM_ROLES, Lacking, chat_template, give_chat_template
from weitiao.tasks.generation import GenerationOptions, generation_config
from weitiao.tasks.inputs import place
from weitiao.tasks.packing import Packs, packed
from weitiao.tasks.rendering import Turns, render, render_prompt
from weitiao.tasks.replies import HEADS, is_asked, known_losses, room_of, stops_of, written
from weitiao.tasks.sequences import padded, token_divergence, token_loss

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import GenerationConfig

Message = dict[str, Any]

SCORES = ("perplexity", "rougeL", "chrf")
MARKS: dict[Lacking, str] = {
    "system": '"role": "system"', "tool": '"role": "tool"', "tool_calls": '"tool_calls": [',
}  # fmt: skip
PROBE = [{"role": "user", "content": "hello"}]

USAGE = """\
from transformers import {auto_class}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
model = {auto_class}.from_pretrained(".")
messages = {messages}
{inputs}
output = model.generate(**inputs)
print(tokenizer.decode({said}, skip_special_tokens=True))
"""
TEMPLATE_INPUTS = """\
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
)"""
TEXT_INPUTS = """\
text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False){header}
inputs = tokenizer(text, add_special_tokens={special}, return_tensors="pt")"""


class ChatOptions(Settings):
    """Options of the task `chat`."""

    system: str | None = None
    """System prompt for the dialogues that have none, in training and ever after."""
    turns: Literal["all", "last"] = "all"
    """Which of the assistant's turns are learned and measured. A message with `weight: 0` never is."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target spread over the whole vocabulary in training (Szegedy et al. 2016); 0.1 is usual. Scores are
    measured without."""
    packing: bool = False
    """Put several short dialogues into each row of a batch, apart from one another (decoders). The same result with
    less padding."""
    generation: GenerationOptions = GenerationOptions()
    """How replies are written."""
    language: str = "auto"
    """Language of the replies (`en`, `zh` ...) for the text scores. `auto`: told from each one's script."""
    metric: Literal["perplexity", "rougeL", "chrf"] = "perplexity"
    """The primary score. Another than perplexity generates replies at each evaluation, which takes its time."""


class ChatFormat(base.Prepared):
    """What plain `transformers` has to be told beside the chat template that is saved with the tokenizer."""

    header: str = ""  # opens a reply where the template does not
    folds_system: bool = False  # the system prompt goes into the user's first message
    plain: bool = True  # ``apply_chat_template`` gives the same tokens as ours


class Chat(Packs):
    """What an assistant says next. Loss: cross-entropy of the tokens of its turns, tool calls and end of turn included.

    A decoder reads the dialogue as its chat template writes it; an encoder-decoder reads it in its encoder and writes
    the reply in its decoder.
    """

    name: ClassVar[str] = "chat"
    families: ClassVar[frozenset[Family]] = frozenset(HEADS)
    reads: ClassVar[Modality] = "text"
    layout: ClassVar[Layout | None] = "dialogue"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("messages", ("messages",), kind="dialogue", description="the turns of a dialogue; read from OpenAI "
               "messages, ShareGPT conversations, Alpaca rows or prompt and completion"),
        Column("tools", ("tools",), required=False, every=False, kind="any", prose=False,
               description="the tools that may be called"),
    )  # fmt: skip
    parts: ClassVar[Mapping[str, base.Part]] = {}
    baselines: ClassVar[tuple[str, ...]] = ("untouched",)
    examples_scored: ClassVar[int | None] = 100
    too_long: ClassVar[str] = (
        "their oldest turns are left out, replies among them, then the start of the last prompt; a reply is never cut"
    )
    loses: ClassVar[bool] = True
    Options: ClassVar[type[Settings]] = ChatOptions
    Prepared: ClassVar[type[base.Prepared]] = ChatFormat

    def __init__(self, options: ChatOptions, prepared: ChatFormat | None = None) -> None:
        self.options = options
        self.prepared: ChatFormat | None = prepared

    def head(self, family: Family) -> Head:
        """A language model's head."""
        return Head(HEADS[family])

    # --- preparing

    def prepare(self, splits: Mapping[SplitName, Dataset], pretrained: Pretrained) -> tuple[Chat, list[Finding]]:
        """Look at the chat template, and give the tokenizer a plain one where it has none.

        Raises a `ModelError` for a template that does not work, a `RecipeError` where packing is not possible.
        """
        self.check_packs(pretrained)
        findings = []
        if give_chat_template(pretrained.tokenizer, pretrained.family):
            problem = "the tokenizer has no chat template: it is given a plain one, which is saved with the model"
            findings.append(Finding("note", "model chat template", problem))
        template = chat_template(pretrained.tokenizer)
        prepared = ChatFormat(header=template.header, folds_system="system" in template.lacking,
                              plain=_is_plain(pretrained))  # fmt: skip
        return Chat(self.options, prepared), findings + template.findings(self._said(splits))

    def _said(self, splits: Mapping[SplitName, Dataset]) -> set[Lacking]:
        """What stands in some dialogue beside the turns of two speakers: told from their JSON text, which is quick."""
        found: set[Lacking] = set() if self.options.system is None else {"system"}
        for split in splits.values():
            if "tools" in split.column_names and any(split["tools"]):
                found.add("tools")
            found |= {kind for kind, mark in MARKS.items() if any(mark in text for text in split["messages"])}
        return found

    def tune(self, seen: Iterable[tuple[Sequence[Example], Sequence[Prediction]]]) -> Chat:
        """Nothing is decided."""
        return self

    # --- dialogues to batches

    def encode(self, examples: Mapping[str, list[Any]], reader: Reader) -> dict[str, list[Any]]:
        """Render each dialogue: `input_ids` and `labels`, and on its last feature `prompt`, behind which the model
        says what its last reply is compared with.

        What follows the last reply of a dialogue from a file takes no part. A dialogue that is asked about and ends
        with another's turn has only a `prompt`. Raises a `DataError` that names the place.
        """  # fmt: skip
        names = ("input_ids", "labels", "prompt", "full_length", "length", "row")
        found: dict[str, list[Any]] = {name: [] for name in names}
        for row, value in enumerate(examples["messages"]):
            where = place(examples, row)
            messages = self._with_system(messages_of(value, where, answered=False))
            tools = tools_of(examples["tools"][row], where) if "tools" in examples else []
            last = _last_reply(messages)
            if is_asked(examples) and messages[-1]["role"] != "assistant":
                last = len(messages)
            for feature in self._features(messages[: last + 1], last, tools, reader, where):
                for name, values in found.items():
                    values.append(row if name == "row" else feature[name])
        return found

    def _features(
        self, messages: list[Message], last: int, tools: list[Any], reader: Reader, where: str
    ) -> Iterator[dict[str, Any]]:
        """Yield the features of a dialogue that ends with the reply `last`, or before it where it is not known."""
        room = room_of(self.options.generation, reader)
        prompt = render_prompt(messages[:last], reader, tools=tools, room=room, where=where)
        if last == len(messages):
            labels = [UNTRAINED] * len(prompt) if reader.family == "decoder" else []
            yield {"input_ids": prompt, "labels": labels, "prompt": prompt, "full_length": len(prompt),
                   "length": len(prompt)}  # fmt: skip
            return
        turns: Turns = self.options.turns
        rows = render(messages, reader, tools=tools, turns=turns, where=where)
        for number, row in enumerate(rows, start=1):
            yield {"input_ids": row.input_ids, "labels": row.labels, "prompt": prompt if number == len(rows) else [],
                   "full_length": row.full_length, "length": max(len(row.input_ids), len(row.labels))}  # fmt: skip

    def _with_system(self, messages: list[Message]) -> list[Message]:
        if self.options.system is None or messages[0]["role"] in SYSTEM_ROLES:
            return messages
        return [{"role": "system", "content": self.options.system}, *messages]

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool = False) -> Batch:
        """Pad; in training several dialogues share a row with `packing`, none longer than the longest dialogue."""
        if self.options.packing and training:
            return packed(features, reader, max(len(feature["input_ids"]) for feature in features))
        return padded(features, reader)

    # --- batches to loss and predictions

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Cross-entropy summed over the tokens that the assistant says."""
        if batch.labels is None:
            raise ValueError("a batch without labels has no loss")
        shifted, smoothing = "labels" not in batch.inputs, self.options.label_smoothing
        return token_loss(outputs.logits, batch.labels, shifted=shifted, smoothing=smoothing)

    def divergence(self, one: Any, other: Any, batch: Batch) -> torch.Tensor:
        """Symmetric divergence of two passes, summed over the tokens that carry loss."""
        assert batch.labels is not None
        return token_divergence(one.logits, other.logits, batch.labels, shifted="labels" not in batch.inputs)

    def reads_as(self, other: Any) -> bool:
        """Whether both tell a model the same beside the dialogue."""
        return isinstance(other, Chat) and (other.prepared, other.options.system) == (
            self.prepared,
            self.options.system,
        )

    def predict(
        self, model: torch.nn.Module, batch: Batch, reader: Reader, *, answers: bool = True
    ) -> list[Prediction]:
        """``{text, loss, tokens}``: the reply to the last turn, and the loss of the replies that are known."""
        known = known_losses(model, batch, reader)
        wanted = answers or self.options.metric != "perplexity"
        texts = written(model, batch, reader, self.options.generation) if wanted else {}
        said = {row: {"text": reply[0]} for row, reply in texts.items()}
        return [said.get(row, {}) | known.get(row, {}) for row in dict.fromkeys(batch.rows)]

    def scorer(self) -> base.Scorer:
        """Perplexity of all replies that are measured; ROUGE-L and chrF of the last one as the model writes it."""
        ordered = sorted(SCORES, key=lambda score: score != self.options.metric)
        return TextScorer(_references, ordered, self.options.language, given=_given)

    # --- elsewhere

    def generation_config(self, model: torch.nn.Module, reader: Reader) -> GenerationConfig:
        """How to generate, with the tokens to stop at."""
        return generation_config(model, reader, self.options.generation, stops_of(model, reader))

    def usage(self, family: Family) -> str:
        """Lines for the model card."""
        known = self.prepared or ChatFormat()
        header = f" + {known.header!r}" if known.header else ""
        inputs = TEMPLATE_INPUTS if known.plain else TEXT_INPUTS.format(header=header, special=family == "seq2seq")
        said = "output[0]" if family == "seq2seq" else 'output[0, inputs["input_ids"].shape[1] :]'
        return USAGE.format(auto_class=HEADS[family], messages=self._messages(known), inputs=inputs, said=said)

    def _messages(self, known: ChatFormat) -> str:
        """Return messages to ask with, as Python."""
        user = {"role": "user", "content": "your message"}
        if self.options.system is None:
            return repr([user])
        if known.folds_system:
            return repr([{**user, "content": f"{self.options.system}\n\n{user['content']}"}])
        return repr([{"role": "system", "content": self.options.system}, user])


def _is_plain(pretrained: Pretrained) -> bool:
    """Whether plain `transformers` makes the tokens of a prompt that we make."""
    ids = pretrained.tokenizer.apply_chat_template(PROBE, add_generation_prompt=True, return_dict=True)["input_ids"]
    return list(ids) == render_prompt(PROBE, pretrained.reader(max(len(ids), pretrained.max_length)))


def _last_reply(messages: Sequence[Message]) -> int:
    """Return the number of the assistant's last turn that is learned; the last turn's where there is none."""
    learned = [i for i, m in enumerate(messages) if m["role"] == "assistant" and m.get("weight", 1) != 0]
    return learned[-1] if learned else len(messages) - 1


# --- dialogues as text


def _parted(example: Example) -> tuple[list[Message], list[Message]]:
    """Return the turns before the reply that is measured, and the reply."""
    messages = json.loads(example["messages"])
    last = _last_reply(messages)
    return messages[:last], messages[last : last + 1]


def _references(example: Example) -> list[str]:
    return [spoken(message) for message in _parted(example)[1]]


def _given(example: Example) -> str:
    """Return what was asked; of several turns, each with who said it."""
    before, _ = _parted(example)
    if len(before) == 1:
        return spoken(before[0])
    return "\n".join(f"{message['role']}: {spoken(message)}" for message in before)


def spoken(message: Mapping[str, Any]) -> str:
    """Return what a message says, tool calls as Qwen and Hermes models write them."""
    calls = [json.dumps(call["function"], ensure_ascii=False) for call in message.get("tool_calls", [])]
    texts = [message["content"]] if message.get("content") else []
    return "\n".join([*texts, *(f"<tool_call>\n{call}\n</tool_call>" for call in calls)])
