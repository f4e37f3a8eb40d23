"""Features: encoded once, cached by content, rows and lengths right, truncation told."""

from __future__ import annotations

import numpy as np
import pytest

from weitiao.data.features import column_array, encode_split, truncated
from weitiao.data.splits import open_splits
from weitiao.recipe import DataSettings
from weitiao.records import Column

ROLES = (Column("text", ("text",)), Column("label", ("label",), target=True, kind="label"))


@pytest.fixture
def splits(tmp_path):
    path = tmp_path / "a.csv"
    lines = [f"{'word ' * (i % 7 + 1)}{i},{'ab'[i % 2]}\n" for i in range(300)]
    path.write_text("text,label\n" + "".join(lines), encoding="utf-8")
    return open_splits(DataSettings(train=str(path)), ROLES, seed=0)


class Encoder:
    def __init__(self, max_length: int = 100) -> None:
        self.max_length, self.texts = max_length, []

    def __call__(self, examples):
        self.texts += examples["text"]
        ids = [[len(word) for word in text.split()] for text in examples["text"]]
        labels = ["ab".index(label) for label in examples["label"]]
        full = [len(i) for i in ids]
        return {"input_ids": [i[: self.max_length] for i in ids], "labels": labels, "full_length": full}


def test_rows_lengths_and_order(splits):
    encode = Encoder()
    features = encode_split(splits["train"], encode, key="k1", batch_size=7)
    texts = splits["train"]["text"][:]
    assert encode.texts == texts
    assert features["row"][:] == list(range(240))
    assert features["length"][:] == [len(text.split()) for text in texts]
    assert features["labels"][:] == ["ab".index(label) for label in splits["train"]["label"][:]]
    assert features[5]["input_ids"] == [len(word) for word in texts[5].split()]
    assert column_array(features, "length").sum() == sum(features["length"][:])


def test_never_twice_for_the_same_key_and_content(splits):
    encode = Encoder()
    first = encode_split(splits["test"], encode, key="k2")
    seen = len(encode.texts)
    again = encode_split(splits["test"], encode, key="k2")
    assert len(encode.texts) == seen
    assert again.to_dict() == first.to_dict()
    encode_split(splits["test"], encode, key="another")
    encode_split(splits["validation"], encode, key="k2")
    assert len(encode.texts) == seen * 2 + len(splits["validation"])


def test_a_failing_encoder_leaves_nothing(splits):
    def fail(_):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        encode_split(splits["test"], fail, key="k3")
    assert len(encode_split(splits["test"], Encoder(), key="k3")) == len(splits["test"])


def test_truncation_is_told(splits):
    features = encode_split(splits["train"], Encoder(max_length=5), key="k4")
    count, longest, rows = truncated(features, 5)
    full = column_array(features, "full_length")
    assert (count, longest) == (int((full > 5).sum()), int(full.max()))
    assert full[rows[0]] == longest
    assert sorted(rows) == np.flatnonzero(full > 5).tolist()
    assert truncated(features, 50) == (0, longest, [])


def test_lists_that_are_empty_at_first(splits):
    def encode(examples):
        return {
            "input_ids": [[1]] * len(examples["text"]),
            "labels": [[2] if len(t) > 35 else [] for t in examples["text"]],
        }

    features = encode_split(splits["train"], encode, key="k5", batch_size=1)
    assert features["labels"][:] == [[2] if len(t) > 35 else [] for t in splits["train"]["text"][:]]


def test_several_features_of_an_example_or_none(splits):
    """The `row` that `encode` gives counts in its batch; what is kept counts in the split."""
    texts = splits["train"]["text"][:]
    times = [int(text.rsplit("word ", 1)[-1]) % 3 for text in texts]  # 0, 1 or 2 features

    def encode(examples):
        made = [(row, part) for row, text in enumerate(examples["text"])
                for part in range(int(text.rsplit("word ", 1)[-1]) % 3)]  # fmt: skip
        return {"input_ids": [[row, part] for row, part in made], "row": [row for row, _ in made]}

    features = encode_split(splits["train"], encode, key="k6", batch_size=7)
    assert features["row"][:] == np.repeat(np.arange(len(texts)), times).tolist()
    assert [part for _, part in features["input_ids"][:]] == [part for n in times for part in range(n)]
    assert features["length"][:] == [2] * sum(times)


def test_batches_that_leave_nothing_and_a_split_that_leaves_nothing(splits):
    def none_of(batches):
        called = []

        def encode(examples):
            called.append(len(examples["text"]))
            kept = [] if len(called) in batches else range(len(examples["text"]))
            return {"input_ids": [[1]] * len(kept), "row": list(kept)}

        return encode

    features = encode_split(splits["train"], none_of({1, 3}), key="k7", batch_size=50)
    assert features["row"][:] == [*range(50, 100), *range(150, 240)]
    assert len(encode_split(splits["train"], none_of(range(9)), key="k8", batch_size=50)) == 0


def test_an_example_cut_in_several_features_is_told_once(splits):
    def encode(examples):
        rows = [row for row in range(len(examples["text"])) for _ in range(2)]
        return {"input_ids": [[1]] * len(rows), "row": rows, "full_length": [9] * len(rows)}

    features = encode_split(splits["test"], encode, key="k9")
    assert sorted(truncated(features, 5)[2]) == list(range(len(splits["test"])))
