"""The model card's lines where an adapter is needed."""

from __future__ import annotations

import pytest

from weitiao.artifacts.card import with_adapter

PIPELINE = """\
from transformers import pipeline

classify = pipeline("text-classification", ".")
print(classify("your text"))
"""
PAIR = """\
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("."), AutoModelForSeq2SeqLM.from_pretrained(".")
print(model.generate(**tokenizer("your text")))
"""
APART = """\
tokenizer = AutoTokenizer.from_pretrained(".")
model = transformers.WhisperForConditionalGeneration.from_pretrained(
    "."
)
"""


@pytest.mark.parametrize(("usage", "before", "model"), [
    (PIPELINE, 'classify = pipeline("text-classification", ".")', "classify.model"),
    (PAIR, PAIR.splitlines()[2], "model"),
    (APART, ")", "model"),
])  # fmt: skip
def test_the_adapter_is_loaded_as_soon_as_the_model_is(usage: str, before: str, model: str) -> None:
    lines = with_adapter(usage, "adapter").splitlines()
    place = lines.index(f'{model} = load_adapter({model}, "adapter")')
    assert lines[place - 4] == before
    assert lines[place - 3].startswith('sys.path.append("adapter")')
    assert lines[0] == "import sys"
    assert [line for line in lines if line in usage.splitlines() and line] == [x for x in usage.splitlines() if x]


def test_lines_that_load_no_model_say_what_is_missing() -> None:
    assert "`adapter/load_adapter.py`" in with_adapter("print(1)\n", "adapter")
