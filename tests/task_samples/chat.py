"""Eight dialogues: instructions, two turns, a system prompt, and a tool that is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests import tiny

OPTIONS: dict[str, Any] = {"generation": {"max_new_tokens": 24}}
TRAINING: dict[str, Any] = {"epochs": 900, "learning_rate": 2e-3, "patience": None, "evaluate_every": 100}
LENGTH = 160
TOOL = {"name": "card", "description": "card", "parameters": {}}


def model(family: str, folder: Path) -> Path:
    """A tiny model that takes 160 tokens: a tool's description is long."""
    texts = [*tiny.TEXTS, json.dumps(TOOL), *(json.dumps(row, ensure_ascii=False) for row in rows())]
    if family == "decoder":
        tiny.tiny_llama(folder, texts, max_position_embeddings=LENGTH)
    else:
        tiny.tiny_t5(folder, texts)
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "model_max_length": LENGTH}))
    return folder


def rows() -> list[dict[str, Any]]:
    asked = ("where is my card", "was the film good", "is the room small", "这本书好吗", "how long does it take")
    said = ("in the hotel", "yes it was very good", "no it is great", "这本书太差了。", "too long")
    found: list[dict[str, Any]] = [_row([_user(a), _said(b)]) for a, b in zip(asked, said, strict=True)]
    found.append(_row([_user("the book"), _said("a bad book"), _user("the film"), _said("nobody liked it")]))
    found.append(_row([{"role": "system", "content": "bad"}, _user("was the film good"), _said("not at all")]))
    call = {"type": "function", "function": {"name": "card", "arguments": {}}}
    found.append({"tools": [TOOL], **_row([_user("new card"), {"role": "assistant", "tool_calls": [call]}])})
    return found


def _row(messages: list[dict[str, Any]]) -> dict[str, Any]:
    return {"messages": messages}


def _user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def _said(content: str) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def example(row: dict[str, Any]) -> dict[str, Any]:
    """The dialogue up to where the assistant is to speak."""
    return {**row, "messages": row["messages"][:-1]}


def same(prediction: dict[str, Any], row: dict[str, Any]) -> bool:
    last = row["messages"][-1]
    if "tool_calls" in last:
        call = prediction["text"].removeprefix("<tool_call>").removesuffix("</tool_call>")
        return call != prediction["text"] and json.loads(call) == last["tool_calls"][0]["function"]
    return prediction["text"] == last["content"]
