from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import TEXTS, tiny_bert
from weitiao import recommend
from weitiao.cli import main
from weitiao.errors import DataError, WeitiaoError
from weitiao.models.catalogue import Entry, catalogue, find
from weitiao.recipe import Recipe
from weitiao.recommendation import Recommendation, cost, recommended
from weitiao.recommendation.choosing import in_time
from weitiao.recommendation.cost import Estimate, Machine, counted, estimate, forward_flops, memory_needed, tokens_of
from weitiao.recommendation.languages import Letters, language_code, languages_of, letters_of
from weitiao.recommendation.looking import Texts
from weitiao.recommendation.need import Need
from weitiao.recommendation.rules import PREFERENCES, REFUSALS, Weighed, order_of
from weitiao.recommendation.suits import SUITS, place_of
from weitiao.registry import names

MACHINE = Machine({384: 200.0, 768: 300.0, 2048: 350.0}, "bf16", "cpu", int(16e9))
ENGLISH = ["the card was not there when I came to the bank", "how can I top up with this card", "is it the best of all"]
CHINESE = ["这家酒店的服务非常好，下次还会来", "房间很干净，位置也方便", "这本书写得不好，不值得买"]


@pytest.fixture(autouse=True)
def _nothing_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / ".cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / ".hub"))
    monkeypatch.setattr(recommended, "measure_machine", lambda: MACHINE)
    monkeypatch.chdir(tmp_path)


def entry(name: str) -> Entry:
    found = find(name, catalogue())
    assert found is not None
    return found


def rows_of(path: Path, header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path.name


def labelled(path: Path, texts: list[str], rows: int, labels: int = 3, times: int = 1) -> str:
    """Rows of a text and one of a few labels."""
    made = [(f"{' '.join([texts[n % len(texts)]] * times)} {n}", f"label {n % labels}") for n in range(rows)]
    return rows_of(path, ("text", "label"), made)


def need(**changes: Any) -> Need:
    texts = Texts(tuple(map(letters_of, ENGLISH)), (), ("en",))
    plain = Need("text-classification", frozenset({"encoder", "decoder", "seq2seq"}), "text", 5_000, 3, 3, texts,
                 ("en",), frozenset({"text", "label"}), int(16e9))  # fmt: skip
    return replace(plain, **changes)


def weighed(name: str, asked: Need, seconds: float = 60.0) -> Weighed:
    found = Estimate(10**9, 10**9, seconds, seconds, seconds, 3, seconds / 3)
    tokens = counted(entry(name), asked.texts.read, asked.texts.written, asked.rows, cut=True)
    return Weighed(entry(name), asked, tokens, "full", found)


# --- what is chosen


def test_english_labels_get_an_english_encoder_that_ends_in_time(tmp_path: Path) -> None:
    found = recommend(labelled(tmp_path / "a.csv", ENGLISH, 3_000))
    first = found.first
    assert (first.entry.family, first.entry.languages) == ("encoder", ("en",))
    assert first.method == ("lora" if first.entry.parameters >= 250e6 else "full")
    assert first.estimate.seconds <= found.need.limit
    assert first.entry.shape.read >= 8e7  # base size, for there is time
    assert first.source in found.advice[0]


def test_few_rows_get_a_sentence_encoder_and_a_new_head(tmp_path: Path) -> None:
    found = recommend(labelled(tmp_path / "a.csv", ENGLISH, 120))
    assert "sentences" in found.first.entry.traits
    assert found.first.method == "head"
    assert any("are few" in sentence for sentence in found.advice)


def test_few_examples_of_each_label_are_compared_by_a_sentence_encoder(tmp_path: Path) -> None:
    found = recommend(labelled(tmp_path / "a.csv", ENGLISH, 480, labels=24), top=40)  # 16 each are left to learn from
    assert "sentences" in found.first.entry.traits
    assert found.first.method == "few-shot"
    assert "few examples of each label" in found.first.why_method
    assert Recipe(**_values(found.recipe)).method.name == "few-shot"
    others = {choice.method for choice in found.choices if "sentences" not in choice.entry.traits}
    assert others
    assert "few-shot" not in others
    more = recommend(labelled(tmp_path / "b.csv", ENGLISH, 540, labels=24))
    assert more.first.method != "few-shot"


def test_examples_that_are_compared_take_the_memory_of_a_whole_step() -> None:
    texts = tuple(letters_of("a film that is good " * 60) for _ in range(4))
    mini = entry("all-MiniLM-L6-v2")
    tokens = counted(mini, texts, (), 60, cut=True)
    few, full = (estimate(mini, method, tokens, 3, MACHINE, MACHINE.free) for method in ("few-shot", "full"))
    assert few.least > full.least
    assert few.memory > full.memory
    assert few.seconds == pytest.approx(full.seconds)


def test_chinese_gets_a_chinese_model(tmp_path: Path) -> None:
    found = recommend(labelled(tmp_path / "评论.csv", CHINESE, 3_000))
    assert found.need.languages == ("zh",)
    assert found.first.entry.languages == ("zh",)
    assert all("zh" in choice.entry.languages for choice in found.choices)
    assert any("does not know Chinese (zh)" in group.reason for group in found.ruled_out)


def test_a_pair_of_languages_gets_its_translator(tmp_path: Path) -> None:
    data = rows_of(tmp_path / "p.csv", ("zh", "en"), [(CHINESE[n % 3], ENGLISH[n % 3]) for n in range(2_000)])
    found = recommend(data, task="translation", columns={"source": "zh", "target": "en"})
    assert found.need.pair == "zh-en"
    assert found.first.entry.id == "Helsinki-NLP/opus-mt-zh-en"
    named = {name: group.reason for group in found.ruled_out for name in group.models}
    assert named["Helsinki-NLP/opus-mt-en-zh"] == "translates another pair of languages than zh-en"


def test_a_language_that_is_given_goes_before_a_pair_that_was_told_from_letters(tmp_path: Path) -> None:
    data = rows_of(tmp_path / "p.csv", ("input", "target"), [(CHINESE[n % 3], ENGLISH[n % 3]) for n in range(300)])
    asked = {"task": "text2text-generation", "columns": {"input": "input", "target": "target"}}
    assert recommend(data, **asked).need.pair == "zh-en"
    found = recommend(data, **asked, language="zh_CN")
    assert (found.need.pair, found.need.languages) == ("", ("zh",))


def test_dialogues_get_one_that_follows_instructions(tmp_path: Path) -> None:
    lines = [{"messages": [{"role": "user", "content": ENGLISH[n % 3]}, {"role": "assistant", "content": f"it is {n}"}]}
             for n in range(300)]  # fmt: skip
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    found = recommend("c.jsonl")
    assert found.need.task == "chat"
    assert "instructions" in found.first.entry.traits
    assert found.first.method == "lora"


def test_every_task_has_kinds_that_some_model_is_of() -> None:
    from weitiao import registry

    for task in set(names("task")) - {"multi-task"}:
        kind = registry.get("task", task)
        for place, each in enumerate(SUITS[task]):
            assert each.family in kind.families, (task, each)
            asked = need(task=task, families=kind.families, roles=frozenset({each.role}), pair="zh-en", rows=10)
            assert any((found := place_of(model, asked)) and found[0] == place for model in catalogue()), (
                task,
                each.why,
            )


def test_larger_models_wait_until_there_is_time(tmp_path: Path) -> None:
    data = labelled(tmp_path / "a.csv", ENGLISH, 5_000)
    sizes = [recommend(data, time=time).first.entry.shape.read for time in ("2m", "20m", "10h")]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_memory_rules_out_what_does_not_fit(tmp_path: Path) -> None:
    data = labelled(tmp_path / "a.csv", ENGLISH, 3_000)
    small = recommend(data, memory="1500MB")
    assert all(choice.estimate.least <= 1.5e9 for choice in small.choices)
    assert any("more memory than 1.50 GB" in group.reason for group in small.ruled_out)
    assert small.first.entry.parameters < recommend(data).first.entry.parameters


def test_licence_context_family_and_language_are_heeded(tmp_path: Path) -> None:
    data = labelled(tmp_path / "a.csv", ENGLISH, 3_000)
    assert all(choice.entry.open for choice in recommend(data, licence="open", top=20).choices)
    assert all(choice.entry.context >= 2_000 for choice in recommend(data, context=2_000, top=20).choices)
    assert all(choice.entry.family == "decoder" for choice in recommend(data, family="decoder", top=20).choices)
    assert all("de" in choice.entry.languages for choice in recommend(data, language="German", top=20).choices)


def test_long_texts_get_a_model_that_reads_them(tmp_path: Path) -> None:
    found = recommend(labelled(tmp_path / "a.csv", ENGLISH, 100, times=100), time="100h")
    assert found.first.entry.context >= 4_096


def test_models_of_ones_own_join_and_the_first_of_them_is_always_shown(tmp_path: Path) -> None:
    tiny_bert(tmp_path / "models" / "mine", TEXTS)
    data = labelled(tmp_path / "a.csv", ENGLISH, 3_000)
    found = recommend(data, models=["models", "nowhere"], top=2)
    assert len(found.choices) == 3
    assert found.choices[-1].entry.here == "models/mine"
    assert any("nowhere does not exist" in note for note in found.notes)
    alone = recommend(data, models=["models"], here=True)
    assert [choice.source for choice in alone.choices] == ["models/mine"]
    assert Recipe(**_values(alone.recipe)).model.source == "models/mine"


def _values(text: str) -> dict[str, Any]:
    from ruamel.yaml import YAML

    values: dict[str, Any] = YAML(typ="safe").load(text)
    return values


def test_the_recipe_can_be_read_and_has_what_was_asked(tmp_path: Path) -> None:
    found = recommend(labelled(tmp_path / "a.csv", ENGLISH, 3_000), memory="4GB", time="1h")
    (tmp_path / "r.yaml").write_text(found.recipe, encoding="utf-8")
    recipe = Recipe.read(tmp_path / "r.yaml")
    assert (recipe.memory, recipe.time, recipe.method.name) == ("4GB", "1h", found.first.method)
    assert (recipe.model.source, recipe.data.train) == (found.first.source, "a.csv")


def test_nothing_is_added_up_each_rule_says_its_reason(tmp_path: Path) -> None:
    found = recommend(labelled(tmp_path / "a.csv", ENGLISH, 3_000), top=10)
    assert all(choice.reasons and choice.why_method for choice in found.choices)
    names_out = [name for group in found.ruled_out for name in group.models]
    assert len(names_out) == len(set(names_out))
    shown = {name for choice in found.choices for name in (choice.entry.id, *choice.alike)}
    assert not shown & set(names_out)
    json.dumps(found.to_dict(), allow_nan=False)


# --- the rules alone


def test_the_rules_tell_by_the_first_that_differs() -> None:
    asked = need()
    slow, quick = weighed("bert-large-uncased", asked, 9e4), weighed("electra-small-discriminator", asked)
    assert order_of(quick) < order_of(slow)
    assert order_of(weighed("roberta-large", asked)) < order_of(weighed("roberta-base", asked))
    assert order_of(weighed("roberta-base", asked)) < order_of(weighed("xlm-roberta-base", asked))
    assert order_of(weighed("roberta-base", asked)) < order_of(weighed("deberta-v3-large", asked))  # only as pickles
    assert order_of(weighed("roberta-base", asked)) < order_of(weighed("Qwen2.5-0.5B", asked))
    few = replace(asked, rows=90)
    assert order_of(weighed("bge-base-en-v1.5", few)) < order_of(weighed("roberta-large", few))


def test_at_hand_decides_among_models_as_large() -> None:
    asked = need()
    other = weighed("roberta-base", asked)
    here = replace(weighed("bert-base-uncased", asked), entry=replace(entry("bert-base-uncased"), here="x"))
    assert order_of(here) < order_of(other)


@pytest.mark.parametrize(
    ("name", "changes", "rule"),
    [
        ("gpt2", {"families": frozenset({"encoder"})}, "of_another_family"),
        ("whisper-tiny", {}, "reads_something_else"), ("bert-base-chinese", {}, "does_not_know_the_language"),
        ("Llama-3.2-1B", {"licence": "open"}, "of_another_licence"), ("roberta-base", {"at_hand": True}, "not_at_hand"),
        ("roberta-base", {"context": 513}, "reads_too_little"), ("codet5-small", {}, "made_for_something_else"),
    ],
)  # fmt: skip
def test_each_refusal_is_for_its_own_reason(name: str, changes: dict[str, Any], rule: str) -> None:
    assert next(each.__name__ for each in REFUSALS if each(entry(name), need(**changes))) == rule


def test_rules_are_pure_functions_with_a_docstring() -> None:
    assert all(rule.__doc__ for rule in (*REFUSALS, *PREFERENCES))


# --- cost


def test_a_formula_counts_what_pytorch_counts() -> None:
    import torch
    import transformers
    from torch.utils.flop_counter import FlopCounterMode

    config = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96,
              "vocab_size": 1_000, "max_position_embeddings": 64}  # fmt: skip
    small = replace(entry("bert-base-uncased"), config={"model_type": "bert", **config}, context=64)
    model = transformers.BertModel(
        transformers.BertConfig(**config, attn_implementation="eager"), add_pooling_layer=False
    )
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, 32, dtype=torch.long))
    tokens = cost.Tokens(rows=2, read=64, pairs=2 * 32**2, written=0, longest=32, usual=32)
    assert forward_flops(small, tokens) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_time_grows_with_rows_epochs_and_what_moves() -> None:
    bert, texts = entry("bert-base-uncased"), tuple(map(letters_of, ENGLISH))

    def seconds(method: str, rows: int, epochs: int) -> float:
        tokens = counted(bert, texts, (), rows, cut=True)
        return estimate(bert, method, tokens, epochs, MACHINE, MACHINE.free).seconds - cost.START

    assert seconds("full", 2_000, 3) == pytest.approx(2 * seconds("full", 1_000, 3))
    assert seconds("full", 1_000, 3) == pytest.approx(1.5 * seconds("lora", 1_000, 3))
    assert seconds("head", 1_000, 9) == pytest.approx(seconds("head", 1_000, 1))
    found = estimate(bert, "full", counted(bert, texts, (), 1_000, cut=True), 3, MACHINE, MACHINE.free)
    assert found.low < found.seconds < found.high


def test_memory_is_of_weights_gradients_moments_and_activations() -> None:
    bert = entry("bert-base-uncased")
    full, lora, head = (memory_needed(bert, method, "bf16", 512) for method in ("full", "lora", "head"))
    assert full > 16 * bert.parameters
    assert full > lora > head
    assert memory_needed(bert, "full", "fp32", 4096) > memory_needed(bert, "full", "bf16", 4096)


def test_tokens_hang_on_the_vocabulary() -> None:
    chinese, english = Letters(100, 0), Letters(0, 420)
    assert tokens_of(chinese, entry("bert-base-chinese")) == 100
    assert tokens_of(chinese, entry("Qwen2.5-0.5B")) == pytest.approx(70)
    assert tokens_of(chinese, entry("gpt2")) == 200
    assert tokens_of(english, entry("gpt2")) == pytest.approx(100)
    assert tokens_of(chinese, entry("byt5-small")) == 300


def test_of_epochs_as_many_are_told_as_fit_into_the_time() -> None:
    asked = need(time=100.0)
    found = in_time(replace(weighed("roberta-base", asked), estimate=Estimate(1, 1, 170, 90, 320, 5, 50)))
    assert (found.epochs, found.seconds) == (2, 80)


# --- languages


@pytest.mark.parametrize(
    ("texts", "codes"),
    [
        (ENGLISH, ["en"]), (CHINESE, ["zh"]), (["これは本です", "猫が好きです"], ["ja"]), (["это книга"], ["ru"]),
        (["der Hund ist nicht mit dem Mann und das Kind auch", "ich habe die Katze von der Frau"], ["de"]),
        (["le chat est dans la maison et les enfants ne sont pas là pour vous"], ["fr"]),
        (["我用 iPhone 拍照，效果很好", "这个 app 不错"], ["zh"]), ([*ENGLISH, *CHINESE], ["en", "zh"]), ([], []),
        (["123"], []),
        ([*ENGLISH * 20, "酒店的房间很干净"], ["en"]),
        ([*ENGLISH[:1] * 20, "酒店的房间很干净服务也好" * 10], ["en", "zh"]),
        (["please open 设置页面 and click on the next one"] * 5, ["en", "zh"]),
        (["a film " * 300 + "酒店的房间很干净服务也好" * 300], ["en"]),  # the beginning of a long text is looked at
    ],
)  # fmt: skip
def test_languages_are_told(texts: list[str], codes: list[str]) -> None:
    assert sorted(languages_of(texts)[0]) == sorted(codes)


def test_letters_that_tell_no_language_are_said_to_be_unsure() -> None:
    assert languages_of(["abc xyz qwe"]) == (["en"], True)
    assert language_code("中文", {"zh"}) == language_code("zh-CN", {"zh"}) == "zh"


# --- bad input, by the command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Any]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["weitiao", *arguments])
        try:
            code = main.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "text-clasification"], "Did you mean 'text-classification'?"),
        (["--language", "chinse"], "Did you mean 'chinese'?"),
        (["--licence", "apach-2.0"], "Did you mean 'Apache-2.0'?"),
        (["--family", "encodr"], "Did you mean 'encoder'?"), (["--memory", "8"], "write a number with its unit"),
        (["--time", "soon"], "write a number with its unit"), (["--top", "0"], "from 1 up"),
        (["--memory", "100MB"], "The least is about"), (["--time", "1s"], "The least is about"),
        (["--context", "9000000"], "reads fewer than 9,000,000 tokens at once"),
        (["--at-hand"], "not on this machine"), (["--columns", "label=lable"], "Did you mean 'label'?"),
        (["--output", "a.csv"], "is a file"), (["--probe"], "--output FOLDER"), (["--methods", "full"], "Add --probe"),
        (["--budget", "5m"], "Add --probe"), (["--probe", "--output", "x"], "no model on this machine is left"),
    ],
)  # fmt: skip
def test_bad_input_is_told_and_writes_nothing(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path, arguments: list[str], said: str
) -> None:
    labelled(tmp_path / "a.csv", ENGLISH, 2_000)
    before = sorted(path.name for path in tmp_path.iterdir())
    code, _, err = command("recommend", "a.csv", *arguments)
    assert code == 2, err
    assert said in err
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == [
        name for name in before if not name.startswith(".")
    ]


@pytest.mark.parametrize("content", ["", "text,label\n"])
def test_empty_data_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError):
        recommend("a.csv")


def test_a_folder_of_other_files_is_not_written_into(tmp_path: Path) -> None:
    from weitiao.recommendation.page import publish

    labelled(tmp_path / "a.csv", ENGLISH, 300)
    found = recommend("a.csv")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(WeitiaoError, match="holds other files"):
        publish(found, tmp_path / "out")


def test_the_command_writes_page_numbers_and_a_recipe(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    labelled(tmp_path / "a.csv", ENGLISH, 300)
    code, out, err = command("recommend", "a.csv", "--output", "choice", "--top", "3")
    assert (code, err) == (0, "")
    stored = json.loads((tmp_path / "choice" / "recommendation.json").read_text("utf-8"))
    assert stored["choices"][0]["source"] in out
    recipe = Recipe.read(tmp_path / "choice" / "recipe.yaml")
    assert (recipe.base / recipe.data.train).resolve() == tmp_path / "a.csv"
    page = (tmp_path / "choice" / "recommendation.html").read_text("utf-8")
    assert stored["choices"][0]["source"] in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert command("recommend", "a.csv", "--output", "choice", "--json")[0] == 0


def test_models_lists_filters_and_shows(command: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = command(
        "models", "--language", "zh", "--family", "encoder", "--licence", "open", "--max-parameters", "50M"
    )
    assert code == 0
    assert "BAAI/bge-small-zh-v1.5" in out
    assert "roberta-large" not in out
    listed = json.loads(command("models", "--json")[1])
    assert len(listed) == len(catalogue())
    code, out, _ = command("models", "show", "bge-small-zh-v1.5")
    assert "ms:AI-ModelScope/bge-small-zh-v1.5" in out
    assert json.loads(command("models", "show", "gpt2", "--json")[1])["layers"] == 12


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "bge-smal-zh-v1.5"], "Did you mean 'BAAI/bge-small-zh-v1.5'?"), (["--family", "x"], "There is:"),
        (["--max-parameters", "many"], "Write a number"),
    ],
)  # fmt: skip
def test_models_on_bad_input(command: Callable[..., tuple[int, str, str]], arguments: list[str], said: str) -> None:
    code, _, err = command("models", *arguments)
    assert code == 2
    assert said in err


def standing(name: str, source: str, method: str, score: float) -> Any:
    from weitiao.evaluation.compared import Attempt, Row
    from weitiao.probing.probed import Standing

    row = Row(name, {"name": method}, {"model": {"source": source}}, [Attempt(0, "x", score)])
    return Standing(row, source, 100, low=score - 0.1, high=score + 0.1, in_final=True)


def test_a_probe_of_the_models_at_hand_goes_before_the_rules(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weitiao.probing.probed import Probed
    from weitiao.recommendation import probed

    asked: dict[str, Any] = {}

    def probe(recipe: Recipe, models: list[Any], **more: Any) -> Probed:
        asked.update(recipe=recipe, models=models, **more)
        first, second = standing("head on b", "../b", "head", 0.9), standing("full on a", "../a", "full", 0.8)
        return Probed("text-classification", "accuracy", True, 50, 0.95, 100, [], [first, second], [], [],
                      recommended="head on b", advice=["Take head on b (90%).", "Train it."])  # fmt: skip

    monkeypatch.setattr(probed, "probe", probe)
    for name in ("a", "b"):
        tiny_bert(tmp_path / name, TEXTS)
    labelled(tmp_path / "d.csv", ENGLISH, 300)
    code, out, err = command("recommend", "d.csv", "--models", "a", "--models", "b", "--probe", "--methods",
                             "head,full", "--budget", "5m", "--output", "choice", "--time", "1h")  # fmt: skip
    assert (code, err) == (0, "")
    wanted = [{"source": source, "methods": ["head", "full"]} for source in ("../a", "../b")]
    assert (asked["models"], asked["time"]) == (wanted, "5m")
    assert asked["recipe"].time is None  # --time is for one run
    assert asked["output"] == Path("choice/probe")
    assert "Measured: take head on b (90%)." in out
    recipe = Recipe.read(tmp_path / "choice" / "recipe.yaml")
    assert (recipe.model.source, recipe.method.name, recipe.time) == ("../b", "head", "1h")
    assert "head on b" in (tmp_path / "choice" / "recommendation.html").read_text("utf-8")
    stored = json.loads((tmp_path / "choice" / "recommendation.json").read_text("utf-8"))
    assert stored["probed"]["ranking"] == ["head on b", "full on a"]


def test_without_methods_each_model_is_tried_with_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the rules refused of a model is not trained because another model is good at it."""
    from weitiao.recommendation import probed

    for name in ("a", "b"):
        tiny_bert(tmp_path / name, TEXTS)
    labelled(tmp_path / "d.csv", ENGLISH, 300)
    found = recommend("d.csv", models=["a", "b"], out="choice")
    first, second = found.local
    found = replace(found, local=[first, replace(second, method="lora")])
    asked: list[Any] = []

    class Asked(Exception):
        pass

    def probe(_: Recipe, models: list[Any], **__: Any) -> Any:
        asked.extend(models)
        raise Asked

    monkeypatch.setattr(probed, "probe", probe)
    with pytest.raises(Asked):
        probed.with_probed(found, tmp_path / "choice")
    assert [each["methods"] for each in asked] == [[first.method], ["lora"]]


def test_one_candidate_alone_is_not_probed(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    tiny_bert(tmp_path / "a", TEXTS)
    labelled(tmp_path / "d.csv", ENGLISH, 300)
    code, _, err = command("recommend", "d.csv", "--models", "a", "--probe", "--output", "choice")
    assert code == 2
    assert "the only candidate" in err
    assert not (tmp_path / "choice").exists()


def test_what_was_tried_out_takes_the_place_of_the_formula(tmp_path: Path) -> None:
    from weitiao.recommendation.measuring import with_measured

    tiny_bert(tmp_path / "mine", TEXTS)
    labelled(tmp_path / "a.csv", TEXTS, 60)
    found: Recommendation = recommend("a.csv", models=["mine"], top=1)
    told: list[str] = []
    tried = with_measured(found, told.append)
    local = next(choice for choice in tried.choices if choice.entry.here)
    assert local.estimate.measured, tried.notes
    assert told == [f"trying mine with {local.method}"]
    assert tried.choices[0] == found.choices[0]
