"""The benchmark harness, without peers: jobs, rows, the floor's arithmetic, turns, scores, tables, the page."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from benchmarks import base_models, floor, rows, running, score, tables
from benchmarks.__main__ import PAGE, RESULTS
from benchmarks.jobs import JOBS, Contender, Job, Size, chosen

from tests.tiny import tiny_bert, tiny_t5
from weitiao import Recipe, load, train

BENCHMARKS = Path(floor.__file__).parent
BERT = {"hidden_size": 4, "intermediate_size": 8, "num_hidden_layers": 2, "vocab_size": 11}
ALL = [(job, contender) for job in JOBS for contender in job.contenders]


def named(value):
    return value.name


# --- the jobs


@pytest.mark.parametrize("job", JOBS, ids=named)
def test_a_job_names_what_is_there(job):
    assert callable(getattr(base_models, job.model))
    assert callable(getattr(rows, job.rows))
    assert job.score in score.SCORES
    assert job.score in tables.SCORE_WORDS
    names = [contender.name for contender in job.contenders]
    assert len(set(names)) == len(names)
    assert [c.role for c in job.contenders].count("weitiao") == 1
    assert job.contenders[0].role == "weitiao"
    assert any(c.role != "weitiao" for c in job.contenders)
    assert set(job.targets) <= {c.role for c in job.contenders}


@pytest.mark.parametrize(("job", "contender"), ALL, ids=[f"{job.name}-{c.name}" for job, c in ALL])
def test_a_contender_can_run(job, contender):
    assert (BENCHMARKS / "sides" / contender.side).exists()
    assert contender.environment == "weitiao" or (BENCHMARKS / "peers" / f"{contender.environment}.txt").exists()
    assert set(re.findall(r"{(\w+)}", contender.says)) <= {"weitiao", "transformers", "trl", "llamafactory", "setfit"}
    json.dumps(dict(contender.settings))
    for recipe in (contender.settings.get("recipe"), job.first):
        if recipe:
            filled = {**recipe, "model": "m", "data": {"train": "rows.jsonl", **recipe["data"]}}
            assert Recipe(**filled).data.test_size == 0  # the held-out rows are scored apart


def test_peers_are_pinned_and_keep_the_cpu_build_of_torch():
    files = list((BENCHMARKS / "peers").glob("*.txt"))
    assert {path.name for path in files} >= {"transformers.txt", "trl.txt", "llama-factory.txt"}
    for path in files:
        lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), path.name
        assert path.name.endswith(".no-deps.txt") or "torch==2.13.0" in lines


def test_jobs_and_peers_are_chosen_by_how_their_names_begin():
    assert [job.name for job, _ in chosen("", "")] == [job.name for job in JOBS]
    assert [job.name for job, _ in chosen("D,A", "")] == ["A", "D1", "D2"]
    [(_, sides)] = chosen("B", "llama-factory, trl-best")
    assert [side.name for side in sides] == ["weitiao", "trl-best", "llama-factory-best", "llama-factory-eager"]
    [(_, sides)] = chosen("B", "trl")
    assert [side.name for side in sides] == ["weitiao", "trl"]  # a whole name
    assert [job.name for job, _ in chosen("", "pipeline")] == ["E1"]
    with pytest.raises(ValueError, match=r"no 'X'; there is: A, B"):
        chosen("X", "")
    with pytest.raises(ValueError, match=r"no 'axolotl'; there is: evaluate"):
        chosen("A", "axolotl")


def command(*words: str, code: int = 0) -> str:
    done = subprocess.run([sys.executable, *words], cwd=BENCHMARKS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_the_command_line(tmp_path):
    assert "llama-factory-best" in command("-m", "benchmarks", "--list", "--jobs", "B")
    assert "there is no 'X'" in command("-m", "benchmarks", "--jobs", "X", code=1)
    assert "0 is not a number from 1 on" in command("-m", "benchmarks", "--repeats", "0", code=2)
    assert "skipped: there is no data folder" in command("-m", "benchmarks", "--data", str(tmp_path / "no"))
    empty = ["--data", str(tmp_path), "--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "r.json")]
    (tmp_path / "cache" / "models" / "minilm").mkdir(parents=True)
    shutil.copy(tiny_bert(tmp_path / "bert") / "tokenizer.json", tmp_path / "cache" / "models" / "minilm")
    told = command("-m", "benchmarks", "--jobs", "A", "--small", *empty, code=1)
    assert "skipped: rt_polarity/sentence_polarity.zip is not in the data folder" in told
    assert "nothing was measured" in told
    assert not (tmp_path / "r.json").exists()


def test_the_process_that_measures_loads_no_torch():
    command("-c", "import benchmarks.__main__, sys; assert not {'torch', 'transformers'} & set(sys.modules)")


# --- rows


@pytest.fixture
def reviews_folder(tmp_path):
    folder = tmp_path / "data" / "rt_polarity"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "sentence_polarity.zip", "w") as archive:
        for label in ("neg", "pos"):
            lines = [f"{label} sentence {i // 2}" for i in range(40)]  # each twice
            archive.writestr(f"sentence_polarity/rt-polarity.{label}", "\n".join(lines).encode("latin-1"))
    return tmp_path / "data"


def test_rows_are_the_same_each_time_and_never_in_both_splits(reviews_folder, tmp_path):
    first = rows.write("reviews", reviews_folder, tmp_path / "a", 30, 10, len)
    again = rows.write("reviews", reviews_folder, tmp_path / "b", 30, 10, len)
    assert first["labels"] == ["neg", "pos"]
    assert first["rows"] == {"train": 30, "held_out": 10}
    splits = {}
    for split in ("train", "held_out"):
        assert Path(first[split]).read_bytes() == Path(again[split]).read_bytes()
        splits[split] = [json.loads(line)["text"] for line in Path(first[split]).read_text().splitlines()]
    assert (len(splits["train"]), len(splits["held_out"])) == (30, 10)
    assert len({*splits["train"], *splits["held_out"]}) == 40
    assert {text[:3] for text in splits["held_out"]} == {"neg", "pos"}
    with pytest.raises(rows.NoDataError, match="40 rows, 41 are wanted"):
        rows.write("reviews", reviews_folder, tmp_path / "c", 31, 10, len)
    with pytest.raises(rows.NoDataError, match="scitldr"):
        rows.write("abstracts", reviews_folder, tmp_path / "c", 1, 1, len)


def test_a_prompt_has_its_reply_beside_it(tmp_path):
    folder = tmp_path / "llamafactory_demo"
    folder.mkdir()
    told = [{"instruction": f"say {i}", "input": "", "output": f"it is {i}"} for i in range(4)]
    told.append({"instruction": "too long", "input": "", "output": "x" * rows.MOST})
    (folder / "alpaca_en_demo.json").write_text(json.dumps(told))
    found = rows.write("prompts", tmp_path, tmp_path / "out", 2, 2, len)
    train, asked = (json.loads(Path(found[split]).read_text().splitlines()[0]) for split in ("train", "held_out"))
    assert [message["role"] for message in train["messages"]] == ["system", "user", "assistant"]
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert asked["reply"].startswith("it is")
    with pytest.raises(rows.NoDataError, match="4 rows"):
        rows.write("prompts", tmp_path, tmp_path / "out", 3, 2, len)


# --- the floor


def test_the_work_of_an_encoder_by_hand():
    counts = floor.Counts([3, 5])
    full = floor.work(BERT, counts, kind="encoder", moves="all")
    body = 8 * 2 * (4 * 4 * 4 + 2 * 4 * 8)  # tokens, layers, weights
    head = 2 * (4 * 4 + 4 * 2)  # sentences: pooler and classifier
    attention = 2 * 4 * (3**2 + 5**2) * 4 * 3
    assert full.flops == 2 * 3 * (body + head) + attention
    once, ten = (floor.work(BERT, counts, kind="encoder", moves="head", epochs=n).flops for n in (1, 10))
    own = 2 * 2 * (2 * 4 * 4 + 3 * 4 * 2)  # the pooler needs no gradient of its input
    assert once == 2 * body + attention / 3 + own
    assert ten - once == 9 * own  # the body is needed once
    assert floor.work(BERT, counts, kind="encoder", moves="all", epochs=3).flops == 3 * full.flops
    with pytest.raises(ValueError, match="no formula for encoder with lora"):
        floor.work(BERT, counts, kind="encoder", moves="lora")


def test_the_work_of_an_encoders_top_layers_by_hand():
    counts = floor.Counts([3, 5])

    def flops(top: int, epochs: int = 1) -> float:
        return floor.work(BERT, counts, kind="encoder", moves="layers", top=top, epochs=epochs).flops

    layer, attention = 8 * (4 * 4 * 4 + 2 * 4 * 8), 4 * (3**2 + 5**2) * 4  # products forward, attention forward
    unneeded = 8 * 3 * 4 * 4  # gradients of what the lowest moving layer's query, key and value read
    head = 2 * (4 * 4 + 4 * 2)
    epoch = 2 * (3 * layer - unneeded + 3 * head) + 3 * attention
    assert flops(1) == 2 * layer + attention + epoch
    assert flops(1, epochs=4) == 2 * layer + attention + 4 * epoch  # what is below is needed once
    assert flops(2) == floor.work(BERT, counts, kind="encoder", moves="all").flops - 2 * unneeded
    for top in (0, 3):
        with pytest.raises(ValueError, match=f"{top} of 2 layers cannot move"):
            flops(top)


def counted_by_torch(run) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def test_the_formulas_are_what_torch_counts(tmp_path):
    """On whole rows of one length, where nothing is padded; torch counts causal attention as if it were not."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoModelForCausalLM,
        BertConfig,
        BertForSequenceClassification,
        LlamaConfig,
        T5Config,
        T5ForConditionalGeneration,
    )

    ids = torch.ones(3, 10, dtype=torch.long)
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
             "vocab_size": 50}  # fmt: skip
    bert = BertForSequenceClassification(BertConfig(**shape, num_labels=5, attn_implementation="eager"))
    found = counted_by_torch(lambda: bert(ids, labels=torch.zeros(3, dtype=torch.long)).loss.backward())
    assert floor.work(shape, floor.Counts([10] * 3), kind="encoder", moves="all", labels=5).flops == found
    bert.bert.requires_grad_(False)
    for part in (bert.bert.pooler, bert.bert.encoder.layer[2]):
        part.requires_grad_(True)
    found = counted_by_torch(lambda: bert(ids, labels=torch.zeros(3, dtype=torch.long)).loss.backward())
    assert floor.work(shape, floor.Counts([10] * 3), kind="encoder", moves="layers", top=1, labels=5).flops == found

    config = LlamaConfig(**shape, num_key_value_heads=2, attn_implementation="eager", attention_dropout=0.0)
    plain = AutoModelForCausalLM.from_config(config)
    whole = floor.Counts([10] * 3, labelled=30)
    extra = 3 * 3 * 2 * 2 * 3 * (10**2 - 10 * 11 / 2) * 32  # what a causal mask hides
    found = counted_by_torch(lambda: plain(ids, labels=ids).loss.backward())
    formula = floor.work(config.to_dict(), whole, kind="decoder", moves="all")
    assert formula.flops + extra == found
    adapted = get_peft_model(plain, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    found = counted_by_torch(lambda: adapted(ids, labels=ids).loss.backward())
    formula = floor.work(config.to_dict(), whole, kind="decoder", moves="lora", rank=2)
    assert formula.flops + extra == found

    t5 = T5Config(d_model=32, d_kv=8, num_heads=4, d_ff=48, num_layers=2, vocab_size=50, decoder_start_token_id=0,
                  dropout_rate=0.0, attn_implementation="eager")  # fmt: skip
    model, targets = T5ForConditionalGeneration(t5), torch.ones(3, 7, dtype=torch.long)
    found = counted_by_torch(lambda: model(ids, labels=targets).loss.backward())
    counts = floor.Counts([10] * 3, [7] * 3)
    hidden = 2 * 3 * 2 * 2 * 3 * (7**2 - 7 * 8 / 2) * 32
    assert floor.work(t5.to_dict(), counts, kind="seq2seq", moves="all").flops + hidden == found


def test_the_machine_is_measured_on_the_jobs_shapes():
    found, precision = floor.measure([floor.Product(64, 32, 48)], steps=2, seconds=0.01)
    assert found > 0
    assert precision in ("bf16", "fp32")
    assert set(floor._shapes(floor.Product(64, 32, 48), 2)) == {(32, 32, 48), (32, 48, 32)}  # the weight's: 32 rows too
    assert floor.share(2e12, 4.0, 1000.0) == pytest.approx(0.5)


# --- one side, in this process


def test_weitiao_as_a_side_and_its_score(reviews_folder, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS / "sides"))
    import told
    import weitiao_train

    for name in ("_accumulate", "make_optimizer"):  # put back afterwards: the side times them
        monkeypatch.setattr(weitiao_train.loop, name, getattr(weitiao_train.loop, name))
    texts = [f"{label} sentence {i}" for label in ("neg", "pos") for i in range(20)]
    model = tiny_bert(tmp_path / "bert", texts)
    given = rows.write("reviews", reviews_folder, tmp_path / "rows", 30, 10, len)
    job = {**given, "model": str(model), "max_length": 32, "seed": 0, "output": str(tmp_path), "settings": {"recipe": {
        "task": "text-classification", "method": "full", "data": {"validation_size": 0, "test_size": 0},
        "training": {"epochs": 30, "learning_rate": 3e-3, "batch_size": 10},
    }}}  # fmt: skip
    (tmp_path / "job.json").write_text(json.dumps(job))
    monkeypatch.setattr(sys, "argv", ["side", str(tmp_path / "job.json")])
    weitiao_train.main()
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["steps"] == 90
    assert 0 < result["seconds_in_steps"] <= result["seconds"]
    assert 0 < result["own_share"] < 1
    assert 10**8 < result["peak_at_end_of_work"] <= result["peak_memory"]
    assert result["versions"]["weitiao"]
    assert (
        result["tokens"] == 30 * floor.count({**job, "works_on": "train", "work": None}).tokens
    )  # the harness counts what the loop saw
    assert score.accuracy(job, result) == 1.0
    assert told.peak_memory() > 10**8


@pytest.mark.parametrize("top", [0, 1])
def test_the_same_moves_on_both_sides(tmp_path, monkeypatch, top):
    """The Trainer's side leaves moving what `head` and `layers` do."""
    from transformers import AutoModelForSequenceClassification

    from weitiao.methods.head import HeadOnly, HeadOnlyOptions
    from weitiao.methods.layers import Layers, LayersOptions

    monkeypatch.syspath_prepend(str(BENCHMARKS / "sides"))
    import trainer_classification

    folder = tiny_bert(tmp_path / "bert")
    ours, theirs = (AutoModelForSequenceClassification.from_pretrained(folder) for _ in range(2))
    (Layers(LayersOptions(top=top)) if top else HeadOnly(HeadOnlyOptions())).apply(ours)
    trainer_classification.freeze(theirs, top)
    moving = [{name for name, each in model.named_parameters() if each.requires_grad} for model in (ours, theirs)]
    assert moving[0] == moving[1]
    assert any(".layer." in name for name in moving[0]) == bool(top)


def test_both_sides_measure_the_same_accuracy(reviews_folder, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS / "sides"))
    import trainer_evaluate
    import weitiao_evaluate

    [job] = [job for job in JOBS if job.name == "E3"]
    given = rows.write("reviews", reviews_folder, tmp_path / "rows", 30, 10, len)
    texts = [f"{label} sentence {i}" for label in ("neg", "pos") for i in range(20)]
    first = train(Recipe(**{
        **job.first, "model": {"source": str(tiny_bert(tmp_path / "bert", texts)), "max_length": 32},
        "data": {"train": given["train"], **job.first["data"]}, "output": str(tmp_path / "run"),
    }))  # fmt: skip
    read = [json.loads(line) for line in Path(given["held_out"]).read_text().splitlines()]
    said = [each["label"] for each in load(first.folder).predict([row["text"] for row in read])]
    right = sum(row["label"] == label for row, label in zip(read, said, strict=True)) / 10
    for main, contender in (
        (weitiao_evaluate.main, "weitiao"), (trainer_evaluate.main, "evaluate-8"),
        (trainer_evaluate.main, "evaluate-32-sorted"),
    ):  # fmt: skip
        [side] = [each for each in job.contenders if each.name == contender]
        told = {**given, "first": str(first.folder), "max_length": 32, "output": str(tmp_path),
                "settings": dict(side.settings)}  # fmt: skip
        (tmp_path / "job.json").write_text(json.dumps(told))
        monkeypatch.setattr(sys, "argv", ["side", str(tmp_path / "job.json")])
        main()
        result = json.loads((tmp_path / "result.json").read_text())
        assert score.SCORES[job.score][0](told, result) == pytest.approx(right)
        assert result["seconds"] > 0


def test_the_score_of_targets_is_the_models_own_loss(tmp_path):
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = tiny_t5(tmp_path / "t5")
    held = [{"text": "the film was good", "summary": "good"}, {"text": "a bad book", "summary": "nobody liked it"}]
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))
    job = {"model": str(folder), "held_out": str(tmp_path / "held.jsonl"), "max_length": 64}
    found = score.target_loss(job, {"model": str(folder)})
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    inputs = tokenizer([row["text"] for row in held], padding=True, return_tensors="pt")
    labels = tokenizer([row["summary"] for row in held], padding=True, return_tensors="pt")
    labels = labels["input_ids"].masked_fill(labels["attention_mask"] == 0, -100)
    with torch.inference_mode():
        assert found == pytest.approx(float(model(**inputs, labels=labels).loss), rel=1e-5)


# --- turns


SIDE = """\
import json, os, sys, told
job = told.read_job()
if job["settings"].get("fails"):
    raise SystemExit("no such operator")
with open(job["settings"]["log"], "a") as log:
    log.write(f"{job['settings']['name']} {job['seed']} {os.environ['HF_HOME']} {os.environ.get('SET', '')}\\n")
clock = told.Clock()
with clock.running():
    sum(range(10**6))
told.tell(job, seconds=clock.seconds, peak=clock.peak, packages=["pip"])
"""


def stand_in(name: str, log: Path, **more) -> Contender:
    return Contender(name, name, "weitiao" if name == "weitiao" else "best", "side.py", "weitiao",
                     {"name": name, "log": str(log), **more}, {"SET": name})  # fmt: skip


def test_sides_take_turns_with_caches_of_their_own_and_a_failure_ends_nothing(tmp_path, monkeypatch):
    sides, log = tmp_path / "here" / "sides", tmp_path / "log"
    sides.mkdir(parents=True)
    shutil.copy(BENCHMARKS / "sides" / "told.py", sides)
    (sides / "side.py").write_text(SIDE)
    monkeypatch.setattr(running, "HERE", tmp_path / "here")
    monkeypatch.setattr(running, "_given", lambda plan, job: {"rows": {"train": 1, "held_out": 1}, "work": None})
    answers = {"floor": {"samples": 1, "tokens": 5}, "score": {"score": 0.5}}
    monkeypatch.setattr(running, "_tool", lambda name, *_: dict(answers[name]))
    contenders = (stand_in("weitiao", log), stand_in("peer", log), stand_in("broken", log, fails=True))
    job = Job("Z", "turns", "minilm", "reviews", Size(1, 1), Size(1, 1), 8, "samples", "accuracy", "higher", contenders)
    plan = running.Plan(tmp_path, tmp_path / "cache", repeats=3, seeds=2, small=True)
    kept = []
    told = running.measure(plan, [(job, contenders)], kept.append)["jobs"]["Z"]
    assert kept[0]["jobs"]["Z"] == told
    lines = [line.split() for line in log.read_text().splitlines()]
    assert [(name, seed) for name, seed, *_ in lines] == [
        ("weitiao", "0"), ("peer", "0"), ("peer", "1"), ("weitiao", "1"), ("weitiao", "0"), ("peer", "0"),
    ]  # fmt: skip
    assert len({cache for _, _, cache, _ in lines}) == 6
    assert all(name == variable for name, *_, variable in lines)
    runs = {(run["contender"], run["repeat"]): run for run in told["runs"]}
    assert len(runs) == 9
    assert "no such operator" in runs["broken", 0]["error"]
    good = runs["peer", 1]
    assert good["command_seconds"] > good["seconds"] > 0
    assert good["peak_memory"] > 10**6
    assert "score" in good
    assert "score" not in runs["peer", 2]  # the third repeat has the first seed again
    assert not list((tmp_path / "cache" / "scratch").iterdir())
    assert "failed: no such operator" in tables.table(told)


def test_the_warm_up_leaves_the_run_that_is_predicted_with(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "_side", lambda *_: {})
    plan = running.Plan(tmp_path, tmp_path / "cache", repeats=1, seeds=1, small=False)
    [job] = [job for job in JOBS if job.name == "E1"]
    whole = running._first(plan, job, {"rows": {"train": job.size.train}})
    Path(whole).mkdir()
    running._first(plan, job, {"rows": {"train": job.small.train}})
    assert Path(whole).is_dir()


# --- tables


def run(contender: str, repeat: int, seconds: float, **more) -> dict:
    return {
        "contender": contender, "repeat": repeat, "seed": repeat, "seconds": seconds, "command_seconds": seconds + 10,
        "others": 0.1, "peak_memory": 10**9, "versions": {"transformers": "5.23.0"}, **more,
    }  # fmt: skip


@pytest.fixture
def measured():
    contenders = [
        ("weitiao", "weitiao"),
        ("trainer", "as it comes"),
        ("quick", "best"),
        ("slow", "best"),
        ("gone", "best"),
    ]
    job = {
        "title": "a job", "unit": "tokens", "score": "accuracy", "better": "higher", "epochs": 2,
        "rows": {"train": 100, "held_out": 50}, "works_on": "train",
        "targets": {"as it comes": 6, "best": 2}, "memory_target": 1 / 3,
        "counted": {"samples": 100, "tokens": 2000, "flops": 6e12, "precision": "bf16"}, "gflops": [900.0, 1100.0],
        "contenders": [{"name": n, "role": r, "says": "T {transformers}", "settings": {}} for n, r in contenders],
        "runs": [
            run("weitiao", 0, 10.0, score=0.9, own_share=0.01), run("weitiao", 1, 20.0, score=0.8, own_share=0.07),
            run("trainer", 0, 70.0, score=0.9), run("trainer", 1, 120.0, score=0.7),
            run("quick", 0, 15.0, peak_memory=4 * 10**9), run("quick", 1, 30.0, peak_memory=4 * 10**9),
            run("slow", 0, 16.0), run("slow", 1, 32.0),
            {"contender": "gone", "repeat": 0, "seed": 0, "error": "a\nit | broke"},
        ],
    }  # fmt: skip
    machine = {"processor": "a CPU", "cores": 2, "bf16": ["amx_bf16"], "memory_gb": 16, "system": "Linux"}
    return {"date": "2026-11-26", "commit": "abc", "small": False, "repeats": 2, "seeds": 2, "threads": None,
            "machine": machine, "jobs": {"A": job}}  # fmt: skip


def test_ratios_are_of_the_same_repeat_and_the_fastest_peer_counts(measured):
    job = measured["jobs"]["A"]
    assert tables.ratios(job, "trainer", "seconds") == [7.0, 6.0]
    assert tables.fastest(job) == "quick"
    assert tables.rate(job, "weitiao") == 2000 * 2 / 15
    assert tables.floor_share(job, "weitiao") == pytest.approx(6e12 / 15 / 1e12)
    assert tables.verdicts(job) == [
        "at least 6× `trainer`: met, 6.50×",
        "at least 2× `quick`: missed, 1.50×",
        "at most 0.33 of the memory of `quick`: met, 0.25",
        "at most 3% of Weitiao's steps its own (all but forward, backward and the update): missed, 4.0%",
    ]
    assert tables.fastest(job, "as it comes") == "trainer"
    assert tables.fastest(job, "best batch size") is None


def test_the_table_says_all_of_it(measured):
    lines = tables.table(measured["jobs"]["A"]).splitlines()
    assert {line.count("|") for line in lines} == {len(tables.COLUMNS) + 1}
    row = {line.split("`")[1]: line for line in lines[2:]}
    deviation = statistics.stdev([0.9, 0.7])
    assert f"0.8000 ± {deviation:.4f} (2 seeds)" in row["trainer"]
    assert (
        "T 5.23.0 | 42.1 tokens | 6.50 (6.00 to 7.00) | 4.17 (4.00 to 4.33) | 1.00 GB | 1.00 (1.00 to 1.00)"
        in row["trainer"]
    )
    assert "40.0%" in row["weitiao"]
    assert row["quick"].startswith("| **`quick`")
    assert "failed: it / broke" in row["gone"]
    page = tables.page(measured)
    assert "say nothing" not in page
    assert "GEMM floor 900 and 1,100 GFLOP/s" in page
    assert "Others kept 0.10 cores busy at most" in page
    assert "say nothing" in tables.page({**measured, "small": True})


def test_the_table_is_written_between_its_marks(measured, tmp_path):
    result, page = tmp_path / "r.json", tmp_path / "page.md"
    result.write_text(json.dumps(measured))
    page.write_text(f"# Benchmarks\n\n{tables.BEGIN}\n\nold\n\n{tables.END}\n\n## Method\n")
    tables.write([result], page)
    first = page.read_text()
    tables.write([result], page)
    assert page.read_text() == first
    assert first.startswith("# Benchmarks\n")
    assert first.endswith("\n## Method\n")
    assert "old" not in first
    assert tables.page(measured) in first
    again = {**measured, "date": "later", "jobs": dict(list(measured["jobs"].items())[:1])}
    second = tmp_path / "zzz.json"
    second.write_text(json.dumps(again))
    told = tables.newest([result, second])
    for job in measured["jobs"].values():
        assert told.count(job["title"]) == 1  # of each job what was measured last
    assert told.startswith("Measured on later")
    page.write_text("# Benchmarks\n")
    with pytest.raises(ValueError, match="lacks the marks"):
        tables.write([result], page)


def test_the_page_says_what_was_measured_and_nothing_else():
    """The tables in docs/benchmarks.md are those of the newest results; without one the page says so."""
    shown = PAGE.read_text(encoding="utf-8").split(tables.BEGIN)[1].split(tables.END)[0].strip()
    results = sorted(RESULTS.glob("*.json"))
    if not results:
        assert shown == tables.NOTHING
        return
    for result in results:
        assert not json.loads(result.read_text(encoding="utf-8"))["small"], f"{result.name} measures nothing"
    assert shown == tables.newest(results), "run: python -m benchmarks table"
