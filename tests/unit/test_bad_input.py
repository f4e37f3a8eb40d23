"""Bad input: a clear error before any training, and nothing left half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.samples import reviews
from weitiao import Recipe, train
from weitiao.errors import WeitiaoError
from weitiao.preparation import prepare

Values = Callable[..., dict[str, Any]]


def table(path: Path, rows: list[tuple[str, str]], header: str = "review,stars") -> Path:
    path.write_text("\n".join([header, *(f'"{text}",{label}' for text, label in rows)]) + "\n", encoding="utf-8")
    return path


def refused(values: dict[str, Any]) -> str:
    """Train on it; return the error's words and make sure that no run folder was left."""
    with pytest.raises(WeitiaoError) as caught:
        train(Recipe(**values))
    assert caught.value.exit_code == 2
    assert not Path(values["output"]).exists() or (Path(values["output"]) / "mine.txt").exists()
    return str(caught.value)


def found(values: dict[str, Any]) -> list[str]:
    """What `check` would say, as ``level: where: problem``."""
    return [f"{f.level}: {f.where}: {f.problem}" for f in prepare(Recipe(**values)).findings]


def test_missing_file(recipe_values: Values, tmp_path: Path) -> None:
    assert "reviws.csv" in refused(recipe_values(data={"train": str(tmp_path / "reviws.csv")}))


def test_missing_column_shows_those_there_are(recipe_values: Values) -> None:
    said = refused(recipe_values(data__columns={"text": "reviw", "label": "stars"}))
    assert "reviw" in said
    assert "review" in said
    assert "stars" in said


def test_empty_file(recipe_values: Values, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    assert "empty" in refused(recipe_values(data={"train": str(tmp_path / "empty.csv")}))
    (tmp_path / "header.csv").write_text("review,stars\n")
    assert "header.csv" in refused(recipe_values(data={"train": str(tmp_path / "header.csv")}))


def test_empty_text_and_empty_label_name_the_line(recipe_values: Values, tmp_path: Path) -> None:
    rows = reviews(40)
    rows[3] = ("  ", "good")
    said = refused(recipe_values(data={"train": str(table(tmp_path / "a.csv", rows))}))
    assert "a.csv:5" in said
    rows = reviews(40)
    rows[4] = (rows[4][0], "")
    said = refused(recipe_values(data={"train": str(table(tmp_path / "b.csv", rows))}))
    assert "b.csv:6" in said


def test_one_class_only(recipe_values: Values, tmp_path: Path) -> None:
    rows = [(text, "good") for text, _ in reviews(40)]
    said = refused(recipe_values(data={"train": str(table(tmp_path / "one.csv", rows))}))
    assert "only one label, 'good'" in said


def test_class_with_one_example(recipe_values: Values, tmp_path: Path) -> None:
    rows = [*reviews(40), ("a lonely row", "odd")]
    said = refused(recipe_values(data={"train": str(table(tmp_path / "lone.csv", rows))}))
    assert "class 'odd' has one example" in said
    assert "lone.csv:42" in said


def test_rare_labels_may_be_allowed(recipe_values: Values, tmp_path: Path) -> None:
    from weitiao import check

    train, validation = [*reviews(40), ("a lonely row", "odd")], [*reviews(20, seed=5), ("something else", "never")]
    values = recipe_values(
        data={"train": str(table(tmp_path / "t.csv", train)), "validation": str(table(tmp_path / "v.csv", validation)),
              "test_size": 0},
        task={"name": "text-classification", "labels": ["bad", "good", "never", "odd"], "rare_labels": "allow"},
    )  # fmt: skip
    said = [str(finding) for finding in check(values).findings]
    assert any("of 4 labels 1 have no training example, 1 one" in each for each in said)
    assert not [finding for finding in check(values).findings if finding.level == "error"]
    values["task"] = {**values["task"], "labels": ["bad", "good", "odd"]}
    assert "label 'never'" in refused(values)


def test_label_that_is_not_in_the_list(recipe_values: Values) -> None:
    said = refused(recipe_values(task={"name": "text-classification", "labels": ["god", "bad"]}))
    assert "'good' is not in task.labels" in said
    assert "Did you mean 'god'?" in said


def test_validation_label_never_seen_in_training(recipe_values: Values, tmp_path: Path) -> None:
    train_file = table(tmp_path / "t.csv", reviews(40))
    validation = table(tmp_path / "v.csv", [*reviews(20, seed=5), ("something else", "odd")])
    said = refused(recipe_values(data={"train": str(train_file), "validation": str(validation), "test_size": 0}))
    assert "label 'odd'" in said
    assert "v.csv:22" in said


def test_text_longer_than_the_model_takes_is_told(recipe_values: Values, tmp_path: Path) -> None:
    rows = reviews(60)
    rows[7] = ("the room was great " * 40, "good")
    said = found(recipe_values(data={"train": str(table(tmp_path / "long.csv", rows)), "validation_size": 0.2}))
    told = [line for line in said if "longer than 64 tokens" in line]
    assert len(told) == 1
    assert "long.csv:9" in told[0]
    assert "1 of" in told[0]
    assert "the longest has 162" in told[0]


def test_more_tokens_than_the_model_takes(recipe_values: Values) -> None:
    values = recipe_values()
    values["model"]["max_length"] = 4096
    assert "takes 64" in refused(values)


def test_model_without_tokenizer(recipe_values: Values, tmp_path: Path) -> None:
    values = recipe_values()
    bare = shutil.copytree(values["model"]["source"], tmp_path / "bare")
    for path in bare.glob("tokenizer*"):
        path.unlink()
    assert "tokenizer" in refused(recipe_values(model=str(bare)))


def test_model_of_an_architecture_that_cannot_classify(recipe_values: Values, tmp_path: Path) -> None:
    values = recipe_values()
    other = shutil.copytree(values["model"]["source"], tmp_path / "marian")
    config = {"model_type": "marian", "architectures": ["MarianMTModel"], "d_model": 32, "vocab_size": 50,
              "encoder_layers": 1, "decoder_layers": 1, "pad_token_id": 0, "eos_token_id": 1,
              "decoder_start_token_id": 0}  # fmt: skip
    (other / "config.json").write_text(json.dumps(config))
    said = refused(recipe_values(model=str(other)))
    assert "marian" in said.lower()


def test_method_that_does_not_fit_the_family(recipe_values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    from weitiao.methods.full import Full

    monkeypatch.setattr(Full, "families", frozenset({"decoder"}))
    said = refused(recipe_values())
    assert "'full' does not work on a model of the family encoder" in said
    assert "decoder" in said


def test_output_that_holds_another_run(recipe_values: Values, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("keep me")
    assert "holds other files" in refused(recipe_values())
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_not_enough_disk(recipe_values: Values, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weitiao.forewarnings.shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    assert "GB free" in refused(recipe_values())


def test_unknown_target_of_lora(recipe_values: Values) -> None:
    values = recipe_values(method={"name": "lora", "targets": ["qury"]})
    said = refused(values)
    assert "Did you mean 'query'?" in said


def test_warnings_do_not_stop(recipe_values: Values, tmp_path: Path) -> None:
    rows = [*[(f"{text} again", "good") for text, _ in reviews(200)], *[r for r in reviews(10) if r[1] == "bad"]]
    train_file = table(tmp_path / "t.csv", rows)
    test_file = table(tmp_path / "e.csv", [*rows[:4], ("a new dirty room", "bad")])
    said = found(recipe_values(data={"train": str(train_file), "test": str(test_file)}))
    assert any(line.startswith("warning") and "imbalance" in line for line in said)
    assert any(line.startswith("warning") and "have a text that is in test too" in line for line in said)
    assert not any(line.startswith("error") for line in said)
    few = found(recipe_values(data={"train": str(table(tmp_path / "few.csv", reviews(30))), "test_size": 0}))
    assert any(line.startswith("warning") and "few" in line for line in few)


def test_numbers_out_of_order_are_suspicious(recipe_values: Values, tmp_path: Path) -> None:
    rows = [(text, str(1 + i % 3)) for i, (text, _) in enumerate(reviews(60))]
    data = {"train": str(table(tmp_path / "n.csv", rows))}
    values = recipe_values(data=data, task={"name": "text-classification", "labels": ["1", "3", "2"]})
    assert any("not in order" in line for line in found(values))
    assert not any("not in order" in line for line in found(recipe_values(data=data)))
