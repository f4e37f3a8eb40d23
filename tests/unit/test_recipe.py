from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from weitiao import registry
from weitiao.errors import RecipeError
from weitiao.recipe import Recipe
from weitiao.recipe.reading import override, parse_override, written_value

BASE = "task: text-classification\nmodel: some/model\ndata: reviews.csv\n"
ROOT = Path(__file__).parents[2]


def read(folder: Path, text: str, *overrides: str, name: str = "recipe.yaml") -> Recipe:
    (folder / name).write_text(text, encoding="utf-8")
    return Recipe.read(folder / name, overrides)


def refused(folder: Path, text: str, *overrides: str, name: str = "recipe.yaml") -> str:
    """Return all that is said about a recipe that is refused."""
    with pytest.raises(RecipeError) as caught:
        read(folder, text, *overrides, name=name)
    assert caught.value.exit_code == 2
    return str(caught.value)


# --- what a recipe means


def test_a_short_recipe_has_the_defaults_of_every_section(tmp_path: Path) -> None:
    recipe = read(tmp_path, BASE)
    assert recipe.task.name == "text-classification"
    assert recipe.model.source == "some/model"
    assert recipe.data.train == "reviews.csv"
    assert recipe.method.name == "full"
    assert recipe.training.epochs == 3
    assert recipe.training.learning_rate == "auto"
    assert recipe.base == tmp_path


def test_the_long_and_the_short_form_are_the_same(tmp_path: Path) -> None:
    long = "task: {name: text-classification}\nmodel: {source: some/model}\ndata: {train: reviews.csv}\n"
    assert read(tmp_path, long).to_dict() == read(tmp_path, BASE).to_dict()


def test_a_component_takes_its_own_options(tmp_path: Path) -> None:
    recipe = read(tmp_path, BASE + "method:\n  name: lora\n  rank: 4\n")
    assert recipe.to_dict()["method"]["rank"] == 4


def test_values_cannot_be_changed_afterwards(tmp_path: Path) -> None:
    recipe = read(tmp_path, BASE)
    with pytest.raises(Exception, match="frozen"):
        recipe.training.epochs = 5  # type: ignore[misc]


# --- YAML 1.2


@pytest.mark.parametrize("number", ["2e-5", "2E-5", "0.00002", "2.0e-5"])
def test_a_number_with_an_exponent_is_a_number(tmp_path: Path, number: str) -> None:
    assert read(tmp_path, f"{BASE}training: {{learning_rate: {number}}}\n").training.learning_rate == 2e-5


@pytest.mark.parametrize("word", ["no", "yes", "on", "off", "y", "NO"])
def test_no_and_its_like_are_strings(tmp_path: Path, word: str) -> None:
    assert read(tmp_path, f"{BASE}output: {word}\n").output == word


@pytest.mark.parametrize("word", ["no", "yes", "on", "off", "'true'", "1"])
def test_only_true_and_false_are_truth_values(tmp_path: Path, word: str) -> None:
    said = refused(tmp_path, f"{BASE}evaluation: {{baselines: {word}}}\n")
    assert "recipe.yaml:4: evaluation.baselines" in said


@pytest.mark.parametrize("number", ["'3'", '"3"'])
def test_a_quoted_number_is_no_number(tmp_path: Path, number: str) -> None:
    assert "training.epochs" in refused(tmp_path, f"{BASE}training: {{epochs: {number}}}\n")


def test_a_leading_zero_is_decimal(tmp_path: Path) -> None:
    assert read(tmp_path, f"{BASE}training: {{seed: 010}}\n").training.seed == 10


@pytest.mark.parametrize("value", ["2024-01-01", "12:30:00", "1.2.3"])
def test_dates_and_times_are_strings(tmp_path: Path, value: str) -> None:
    assert read(tmp_path, f"{BASE}output: {value}\n").output == value


def test_null_is_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, f"{BASE}training: {{patience: null, clip_norm: ~}}\n").training.patience is None


def test_a_section_whose_lines_are_all_commented_out_has_its_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, f"{BASE}training:\n  # epochs: 5\n").training.epochs == 3


def test_a_byte_order_mark_and_windows_line_ends_are_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    assert Recipe.read(path).data.train == "reviews.csv"


def test_chinese_text_is_kept(tmp_path: Path) -> None:
    recipe = read(tmp_path, f"{BASE}output: 微调结果\n")
    assert recipe.output == "微调结果"
    assert "微调结果" in recipe.to_yaml()


@pytest.mark.parametrize("text", ["x: &x {epochs: 2}\ntraining:\n  <<: *x\n", "training: {<<: {epochs: 2}}\n"])
def test_merge_keys_are_refused_and_not_a_crash(tmp_path: Path, text: str) -> None:
    assert "recipe.yaml:" in refused(tmp_path, BASE + text)


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system ['echo hi']", "!!python/name:os.system", "!mine x"])
def test_tags_build_nothing(tmp_path: Path, tag: str) -> None:
    said = refused(tmp_path, f"{BASE}output: {tag}\n")
    assert "recipe.yaml:4" in said
    assert "TaggedScalar" not in said


def test_a_character_that_yaml_does_not_allow_is_told(tmp_path: Path) -> None:
    assert "recipe.yaml" in refused(tmp_path, f"{BASE}output: a\x01b\n")


# --- refusing


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{BASE}traning:\n  epochs: 3\n", "recipe.yaml:4: traning: unknown key. Did you mean 'training'?"),
        (f"{BASE}training:\n  epoch: 3\n", "recipe.yaml:5: training.epoch: unknown key. Did you mean 'epochs'?"),
        (f"{BASE}\n# why\ntraining:\n  seed: 1\n  lr: 3\n", "recipe.yaml:8: training.lr: unknown key. There is: "),
        (f"{BASE}model_name: x\n", "recipe.yaml:4: model_name: unknown key."),
        (f"{BASE}method:\n  name: lora\n  rnak: 4\n", "recipe.yaml:6: method.rnak: unknown key. Did you mean 'rank'?"),
        (f"{BASE}method: {{name: full, rank: 4}}\n", "recipe.yaml:4: method.rank: unknown key."),
        (f"{BASE}method: lorra\n", "recipe.yaml:4 (method): unknown method 'lorra'\nDid you mean 'lora'?"),
        (BASE.replace("text-cl", "txt-cl"), "recipe.yaml:1 (task): unknown task 'txt-classification'\nDid you mean"),
        (f"{BASE}trackers: [tensorbord]\n", "recipe.yaml:4 (trackers): unknown tracker 'tensorbord'\nDid you mean"),
        (f"{BASE}training:\n  schedule: liner\n", "recipe.yaml:5: training.schedule: found 'liner'"),
        (f"{BASE}training:\n  schedule: liner\n", "Did you mean 'linear'?"),
    ],
)
def test_a_misspelt_key_or_name_is_told_with_line_and_nearest(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("training: {epochs: three}", "training.epochs: found 'three'"),
        ("training: {epochs: 0}", "training.epochs: found 0"),
        ("training: {epochs: -1}", "training.epochs: found -1"),
        ("training: {epochs: .inf}", "training.epochs: found inf"),
        ("training: {learning_rate: fast}", "training.learning_rate: found 'fast'"),
        ("training: {learning_rate: .nan}", "training.learning_rate: found nan"),
        ("training: {learning_rate: -1}", "training.learning_rate: found -1"),
        ("training: {learning_rate: 0}", "training.learning_rate: found 0"),
        ("training: {batch_size: 2.5}", "training.batch_size: found 2.5"),
        ("training: {batch_size: 0}", "training.batch_size: found 0"),
        ("training: {micro_batch_tokens: 0}", "training.micro_batch_tokens: found 0"),
        ("training: {evaluate_every: 0}", "training.evaluate_every: found 0"),
        ("training: {checkpoint_every: -5}", "training.checkpoint_every: found -5"),
        ("training: {warmup: 1}", "training.warmup: found 1"),
        ("training: {precision: fp16}", "training.precision: found 'fp16'"),
        ("training: {seed: -1}", "training.seed: found -1"),
        ("training: 5", "training: found 5"),
        ("training: [epochs]", "training: found"),
        ("evaluation: {confidence: 95}", "evaluation.confidence: found 95"),
        ("trackers: tensorboard", "trackers: found 'tensorboard'"),
        ("output: 3", "output: found 3"),
    ],
)
def test_a_value_that_cannot_be_is_told_with_line_key_and_value(tmp_path: Path, line: str, key: str) -> None:
    said = refused(tmp_path, f"{BASE}{line}\n")
    assert f"recipe.yaml:4: {key}" in said
    assert "instance of" not in said  # a word of the library's, not of ours
    assert "pydantic" not in said


def test_a_role_with_an_impossible_column_is_named(tmp_path: Path) -> None:
    text = BASE.replace("data: reviews.csv", "data:\n  train: reviews.csv\n  columns:\n    text: 3\n    label: stars")
    assert "data.columns.text" in refused(tmp_path, text)


@pytest.mark.parametrize("line", ["task:", "model:", "data:"])
def test_an_empty_required_section_is_missing(tmp_path: Path, line: str) -> None:
    lines = [line if row.startswith(line) else row for row in BASE.splitlines()]
    said = refused(tmp_path, "\n".join(lines) + "\n")
    assert "recipe.yaml:" in said
    assert "None" not in said


def test_what_is_missing_is_told_all_at_once(tmp_path: Path) -> None:
    said = refused(tmp_path, "task: text-classification\n")
    assert "model: is missing" in said
    assert "data: is missing" in said


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = f"{BASE}training:\n  batch_size: x\n  epochs: y\nevaluation: {{bootstrap: z}}\n"
    lines = [line.split(":")[1] for line in refused(tmp_path, text).splitlines()]
    assert lines == ["5", "6", "7"]


@pytest.mark.parametrize("second", ["task: x", "data: other.csv", "training: {epochs: 1, epochs: 2}"])
def test_a_repeated_key_is_an_error(tmp_path: Path, second: str) -> None:
    assert "recipe.yaml:4: found duplicate key" in refused(tmp_path, f"{BASE}{second}\n")


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "just words\n", "3\n", "---\n"])
def test_what_is_no_recipe_is_told(tmp_path: Path, text: str) -> None:
    assert "holds no recipe" in refused(tmp_path, text)


def test_broken_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    assert refused(tmp_path, f"{BASE}training:\n\tepochs: 3\n").startswith("recipe.yaml:5: ")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="No such file"):
        Recipe.read(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="directory"):
        Recipe.read(tmp_path)
    (tmp_path / "gbk.yaml").write_bytes(f"{BASE}output: 微调\n".encode("gbk"))
    with pytest.raises(RecipeError, match="is not UTF-8"):
        Recipe.read(tmp_path / "gbk.yaml")
    assert "ends in .yaml" in refused(tmp_path, BASE, name="recipe.txt")


def test_python_callers_get_the_same_errors() -> None:
    with pytest.raises(RecipeError, match=r"training.epoch: unknown key. Did you mean 'epochs'\?"):
        Recipe(task="text-classification", model="m", data="d.csv", training={"epoch": 3})
    with pytest.raises(RecipeError, match="unknown method"):
        Recipe(task="text-classification", model="m", data="d.csv", method="lorra")


# --- TOML and JSON


TOML = 'task = "text-classification"\nmodel = "some/model"\n\n[data]\ntrain = "reviews.csv"\n\n[training]\nepochs = 2\n'
JSON = json.dumps(
    {"task": "text-classification", "model": "some/model", "data": {"train": "reviews.csv"}, "training": {"epochs": 2}},
    indent=1,
)


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    yaml = read(tmp_path, f"{BASE}training: {{epochs: 2}}\n")
    toml, js = read(tmp_path, TOML, name="recipe.toml"), read(tmp_path, JSON, name="recipe.json")
    assert toml.to_dict() == js.to_dict() == yaml.to_dict()
    assert toml.origin("training.epochs") == "recipe.toml:8"
    assert js.origin("training.epochs") == "recipe.json:8"


def test_toml_and_json_mistakes_have_their_line_too(tmp_path: Path) -> None:
    toml = refused(tmp_path, TOML.replace("epochs", "epoch"), name="r.toml")
    assert "r.toml:8: training.epoch: unknown key. Did you mean 'epochs'?" in toml
    assert "r.json:8: training.epoch" in refused(tmp_path, JSON.replace("epochs", "epoch"), name="r.json")
    assert refused(tmp_path, 'task = "a"\ntask = "b"\n', name="r.toml").startswith("r.toml:2: ")
    assert "stands twice" in refused(tmp_path, '{"task": "a", "task": "b"}', name="r.json")
    assert refused(tmp_path, '{"task": }', name="r.json").startswith("r.json:1: ")
    assert refused(tmp_path, "task = \n", name="r.toml").startswith("r.toml:1: ")
    assert "training.epochs: found nan" in refused(tmp_path, JSON.replace("2", "NaN"), name="r.json")


# --- --set and origins


def test_set_goes_before_the_file_and_the_last_one_wins(tmp_path: Path) -> None:
    text = f"{BASE}training: {{epochs: 1, seed: 7}}\n"
    recipe = read(tmp_path, text, "training.epochs=2", "training.epochs=5", "training.learning_rate=2e-5")
    assert (recipe.training.epochs, recipe.training.learning_rate, recipe.training.seed) == (5, 2e-5, 7)
    assert recipe.origin("training.epochs") == "--set"
    assert recipe.origin("training.learning_rate") == "--set"
    assert recipe.origin("training.seed") == "recipe.yaml:4"
    assert recipe.origin("training.warmup") == "default"


@pytest.mark.parametrize(
    "overrides",
    [
        ("method=lora", "method.rank=8"),
        ("method.name=lora", "method.rank=8"),
        ("method.rank=8", "method.name=lora"),
        ("method={name: lora, rank: 8}",),
    ],
)
def test_a_component_is_set_by_name_then_option_in_any_way(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    recipe = read(tmp_path, BASE, *overrides)
    assert recipe.to_dict()["method"]["name"] == "lora"
    assert recipe.to_dict()["method"]["rank"] == 8
    assert recipe.origin("method.name") == recipe.origin("method.rank") == "--set"


def test_setting_an_option_of_the_component_in_the_file(tmp_path: Path) -> None:
    recipe = read(tmp_path, f"{BASE}method: lora\n", "method.rank=8")
    assert recipe.to_dict()["method"]["rank"] == 8
    assert recipe.origin("method.name") == "recipe.yaml:4"


def test_setting_another_component_forgets_the_options_of_the_first(tmp_path: Path) -> None:
    assert read(tmp_path, f"{BASE}method: {{name: lora, rank: 4}}\n", "method=full").method.name == "full"


def test_a_section_given_as_one_word_can_be_set_below(tmp_path: Path) -> None:
    recipe = read(tmp_path, BASE, "data.columns={text: review}", "data.columns.label=stars", "model.revision=main")
    assert recipe.data.columns == {"text": "review", "label": "stars"}
    assert recipe.data.train == "reviews.csv"
    assert recipe.model.source == "some/model"
    assert recipe.model.revision == "main"


def test_set_touches_only_its_own_key(tmp_path: Path) -> None:
    text = BASE.replace("data: reviews.csv", "data:\n  train: reviews.csv\n  test_size: 0.2\n  validation_size: 0.3")
    recipe = read(tmp_path, text, "data.test=test.csv", "data.validation=v.csv")
    assert recipe.origin("data.test_size") == "recipe.yaml:5"
    assert recipe.origin("data.validation_size") == "recipe.yaml:6"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epoch=5", "--set: training.epoch: unknown key. Did you mean 'epochs'?"),
        ("epochs=5", "--set: epochs: unknown key."),
        ("training.epochs", "is not section.key=value"),
        ("=3", "is not section.key=value"),
        ("training.epochs=x", "--set: training.epochs: found 'x'"),
        ("training.epochs={", "--set training.epochs"),
        ("training=5", "--set: training: found 5"),
        ("method=lorra", "unknown method 'lorra'\nDid you mean 'lora'?"),
        ("model.source.x=3", "is a value, not a section"),
    ],
)
def test_a_bad_set_is_told_as_such(tmp_path: Path, override: str, said: str) -> None:
    assert said in refused(tmp_path, BASE, override)


def test_an_option_without_its_component_says_which_one_lacks_it(tmp_path: Path) -> None:
    said = refused(tmp_path, BASE, "method.rank=4")
    assert "rank" in said
    assert "--set" in said


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_set_is_null_and_refused_where_null_is_none(tmp_path: Path, value: str) -> None:
    assert "training.epochs" in refused(tmp_path, BASE, f"training.epochs={value}")
    assert read(tmp_path, BASE, f"training.patience={value}").training.patience is None


def test_a_value_may_hold_an_equals_sign(tmp_path: Path) -> None:
    assert read(tmp_path, BASE, "output=runs/a=b").output == "runs/a=b"


def test_python_values_have_their_origin() -> None:
    recipe = Recipe(task="text-classification", model="m", data="d.csv", training={"epochs": 1})
    assert recipe.origin("training.epochs") == "python"
    assert recipe.origin("model.source") == "python"
    assert recipe.origin("training.seed") == "default"


def test_resolving_keeps_origins_and_says_why(tmp_path: Path) -> None:
    recipe = read(tmp_path, f"{BASE}training: {{epochs: 2}}\n")
    resolved = recipe.resolved({"training.learning_rate": (5e-5, "usual for full on an encoder")})
    assert resolved.training.learning_rate == 5e-5
    assert resolved.origin("training.learning_rate") == "auto: usual for full on an encoder"
    assert resolved.origin("training.epochs") == "recipe.yaml:4"
    assert resolved.base == tmp_path
    assert recipe.training.learning_rate == "auto"


# --- round trips


FULL = BASE + (
    "method: {name: lora, rank: 4}\ntraining: {learning_rate: 2e-5, patience: null, epochs: 1.5}\n"
    "trackers: [tensorboard]\noutput: 'no'\n"
)


def test_what_is_stored_is_restored_with_origins_and_base(tmp_path: Path) -> None:
    recipe = read(tmp_path, FULL, "training.seed=3")
    recipe.store(tmp_path / "stored.json")
    restored = Recipe.restore(tmp_path / "stored.json")
    assert restored == recipe
    assert restored.to_dict() == recipe.to_dict()
    assert restored.base == tmp_path.resolve()
    for key in ("training.seed", "training.learning_rate", "method.rank", "training.warmup"):
        assert restored.origin(key) == recipe.origin(key)


def test_written_yaml_reads_back_the_same_and_shows_origins(tmp_path: Path) -> None:
    recipe = read(tmp_path, FULL, "training.seed=3")
    text = recipe.to_yaml()
    assert read(tmp_path, text, name="again.yaml").to_dict() == recipe.to_dict()
    lines = {line.split(":")[0].strip(): line for line in text.splitlines()}
    assert lines["seed"].endswith("# --set")
    assert lines["learning_rate"].endswith("# recipe.yaml:5")
    assert lines["warmup"].endswith("# default")


def test_a_recipe_as_json_and_toml_values_reads_back(tmp_path: Path) -> None:
    recipe = read(tmp_path, FULL)
    again = read(tmp_path, json.dumps(recipe.to_dict()), name="again.json")
    assert again.to_dict() == recipe.to_dict()


# --- the schema


def test_the_schema_knows_every_component_and_option() -> None:
    schema = Recipe.json_schema()
    text = json.dumps(schema)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert set(schema["required"]) == {"task", "model", "data"}
    assert schema["additionalProperties"] is False
    for kind in ("task", "method"):
        names = schema["properties"][kind]["anyOf"][0]["enum"]
        assert names == registry.names(kind)
        for name in names:
            for option, field in registry.get(kind, name).Options.model_fields.items():
                assert f'"{option}"' in text, option
                assert field.description, f"{kind} {name}: {option} has no description"


def test_every_reference_in_the_schema_leads_somewhere() -> None:
    schema = Recipe.json_schema()

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [ref for value in node.values() for ref in references(value)]
        return [ref for item in node for ref in references(item)] if isinstance(node, list) else []

    for reference in references(schema):
        assert reference.removeprefix("#/$defs/") in schema["$defs"], reference


def test_every_setting_has_a_description() -> None:
    def look(section: type, path: str) -> None:
        for name, field in section.model_fields.items():  # type: ignore[attr-defined]
            inner = field.annotation
            if isinstance(inner, type) and hasattr(inner, "model_fields"):
                look(inner, f"{path}{name}.")
            elif path and path not in ("task.", "method."):
                assert field.description, f"{path}{name}"

    look(Recipe, "")


def shipped() -> list[Path]:
    return sorted(path for path in (ROOT / "recipes").rglob("*") if path.suffix in (".yaml", ".toml", ".json"))


@pytest.mark.parametrize("text", [BASE, FULL], ids=["short", "full"])
def test_the_schema_takes_what_the_reader_takes(tmp_path: Path, text: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(read(tmp_path, text).to_dict(), Recipe.json_schema())


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.name)
def test_every_shipped_recipe_reads_and_its_keys_stand_in_the_schema(path: Path) -> None:
    written, schema = Recipe.read(path).to_dict(), Recipe.json_schema()
    assert written["task"]["name"] in registry.names("task")
    assert set(written) <= set(schema["properties"])
    for section, settings in (("training", "TrainingSettings"), ("data", "DataSettings"), ("model", "ModelSettings")):
        assert set(written[section]) == set(schema["$defs"][settings]["properties"])


@pytest.mark.parametrize(
    "value",
    ["plain", "a b", "it's; rm", "null", "1e-5", "$HOME", "a: b", "#x", "", "微调",
     "a\u0085b", "a\u2028b", None, True, 3, 2e-5, ["a", "b c"],
     {"name": "lora", "targets": ["q'", "v"], "bias": None}],
)  # fmt: skip
def test_what_is_advised_can_be_pasted(value: Any) -> None:
    option, given = shlex.split(override("model.source", written_value(value)))
    assert (option, parse_override(given)) == ("--set", (("model", "source"), value))
