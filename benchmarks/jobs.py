"""What is measured: jobs and who takes part in them, as data.

A contender is one side of a job: a script under `sides/`, the environment it runs in, its settings. The first one of a
job is Weitiao, with what its users get by default; the others are peers, `as it comes`, at the `best batch size` with
nothing else changed, or at the `best` settings that were found. Where several settings might be the best, all take part
and the fastest counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Role = Literal["weitiao", "as it comes", "best batch size", "best"]
Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Contender:
    """One side of a job."""

    name: str
    says: str  # for people; {package} is replaced by the version that ran
    role: Role
    side: str  # the script in sides/
    environment: str  # weitiao: this very one; else a file in peers/
    settings: Mapping[str, Any]
    variables: Mapping[str, str] = field(default_factory=dict)  # of its process's environment


@dataclass(frozen=True)
class Size:
    """How many rows: to train (or to work) on, and held out for the score."""

    train: int
    held_out: int


@dataclass(frozen=True)
class Job:
    """One thing to do, the same for all contenders."""

    name: str
    title: str
    model: str  # a function in base_models.py
    rows: str  # a function in rows.py
    size: Size
    small: Size
    max_length: int
    unit: Literal["samples", "tokens"]  # what is counted a second
    score: str  # a function in score.py
    better: Better
    contenders: tuple[Contender, ...]
    work: Mapping[str, Any] | None = None  # what the floor's arithmetic needs; None: no share of a floor is given
    targets: Mapping[Role, float] = field(default_factory=dict)  # how many times as fast Weitiao wants to be
    memory_target: float | None = None  # Weitiao's peak memory to the fastest peer's, at most
    first: Mapping[str, Any] | None = None  # a recipe that is trained beforehand, uncounted: the model to predict with

    @property
    def works_on(self) -> Literal["train", "held_out"]:
        """The rows that are counted: those that are trained on, or predicted for."""
        return "held_out" if self.first else "train"


# glibc keeps freed memory instead of giving it back after each step; 11 to 17% faster for any side that does not do so
# itself.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32), "MALLOC_TOP_PAD_": str(2**28),
}  # fmt: skip


def _kept(role: Role) -> Mapping[str, str]:
    """The variables of a peer that predicts in one of its roles."""
    return {} if role == "as it comes" else KEEP_MEMORY


def _weitiao(says: str, recipe: Mapping[str, Any], side: str = "weitiao_train.py") -> Contender:
    return Contender("weitiao", f"Weitiao {{weitiao}}: {says}", "weitiao", side, "weitiao", {"recipe": recipe})


# --- the Trainer's settings

COMES: Mapping[str, Any] = {"num_train_epochs": 1, "use_cpu": True, "report_to": "none"}
FAST: Mapping[str, Any] = {
    **COMES, "bf16": True, "train_sampling_strategy": "group_by_length", "optim": "adamw_torch_fused",
    "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True, "dataloader_pin_memory": False,
}  # fmt: skip


def _trainer(side: str, comes: Mapping[str, Any], **more: Any) -> tuple[Contender, ...]:
    """The Trainer as it comes, and at its best with both ways to compute attention: which is faster hangs on length."""
    best = "bf16, grouped by length, fused AdamW, glibc keeps memory"
    return (
        Contender("trainer", "Trainer {transformers} as it comes: fp32, random batches", "as it comes", side,
                  "transformers", {"arguments": {**COMES, **comes}, **more}),
        Contender("trainer-best", f"Trainer {{transformers}}: {best}", "best", side, "transformers",
                  {"arguments": {**FAST, **comes}, **more}, KEEP_MEMORY),
        Contender("trainer-eager", f"Trainer {{transformers}}: {best}, eager attention", "best", side, "transformers",
                  {"arguments": {**FAST, **comes}, "model": {"attn_implementation": "eager"}, **more}, KEEP_MEMORY),
    )  # fmt: skip


# --- the jobs

_ONE_BATCH = {"per_device_train_batch_size": 32, "learning_rate": 5e-5}
_ALL_TRAIN = {"validation_size": 0, "test_size": 0}  # the held-out rows are scored apart, alike for all

CLASSIFICATION = Job(
    name="A",
    title="MiniLM (22.7 M), full fine-tuning on short sentences, batch 32, 1 epoch",
    model="minilm",
    rows="reviews",
    size=Size(6920, 1821),
    small=Size(128, 64),
    max_length=128,
    unit="samples",
    score="accuracy",
    better="higher",
    work={"kind": "encoder", "moves": "all", "batch": 32},
    targets={"as it comes": 6, "best": 2},
    contenders=(
        _weitiao("full, defaults", {"task": "text-classification", "method": "full", "data": _ALL_TRAIN,
                                    "training": {"epochs": 1, "batch_size": 32}}),
        *_trainer("trainer_classification.py", _ONE_BATCH),
    ),
)  # fmt: skip

_SFT = {"per_device_train_batch_size": 8, "learning_rate": 2e-4, "num_train_epochs": 1}
_TRL = {**_SFT, "max_length": 512, "use_cpu": True, "completion_only_loss": True, "report_to": "none"}
_TRL_FAST = {
    **_TRL, "gradient_checkpointing": False, "train_sampling_strategy": "group_by_length", "bf16": True,
    "optim": "adamw_torch_fused", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True,
    "dataloader_pin_memory": False,
}  # fmt: skip
_FACTORY = {
    **_SFT, "stage": "sft", "do_train": True, "finetuning_type": "lora", "lora_rank": 8, "lora_alpha": 16,
    "lora_target": "all", "template": "smollm2", "cutoff_len": 512, "report_to": "none", "use_cpu": True,
}  # fmt: skip
_FACTORY_FAST = {
    **_FACTORY, "bf16": True, "disable_gradient_checkpointing": True, "train_sampling_strategy": "group_by_length",
    "optim": "adamw_torch_fused", "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True,
    "dataloader_pin_memory": False,
}  # fmt: skip
_FACTORY_SAYS = "LLaMA-Factory {llamafactory}: no checkpointing, grouped, bf16, fused AdamW, glibc keeps memory"
_TRL_SAYS = "TRL {trl}: no checkpointing, grouped, bf16 model, fused AdamW, glibc keeps memory"

INSTRUCTIONS = Job(
    name="B",
    title="SmolLM2-135M, LoRA r=8 all-linear on 96 instructions, up to 512 tokens, loss on the assistant's tokens only",
    model="smollm2",
    rows="instructions",
    size=Size(96, 100),
    small=Size(8, 4),
    max_length=512,
    unit="tokens",
    score="reply_loss",
    better="lower",
    work={"kind": "decoder", "moves": "lora", "rank": 8, "batch": 8},
    targets={"as it comes": 6, "best": 3},
    memory_target=1 / 3,
    contenders=(
        _weitiao("LoRA, defaults", {"task": "chat", "method": {"name": "lora", "rank": 8}, "data": _ALL_TRAIN,
                                    "training": {"epochs": 1, "batch_size": 8}}),
        Contender("trl", "TRL {trl} as it comes", "as it comes", "trl_sft.py", "trl",
                  {"arguments": _TRL, "lora": {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}}),
        Contender("trl-best", _TRL_SAYS, "best", "trl_sft.py", "trl",
                  {"arguments": _TRL_FAST, "lora": {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
                   "model": {"dtype": "bfloat16"}}, KEEP_MEMORY),
        Contender("trl-eager", f"{_TRL_SAYS}, eager attention", "best", "trl_sft.py", "trl",
                  {"arguments": _TRL_FAST, "lora": {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"},
                   "model": {"dtype": "bfloat16", "attn_implementation": "eager"}}, KEEP_MEMORY),
        Contender("llama-factory-best", _FACTORY_SAYS, "best", "llama_factory_sft.py", "llama-factory",
                  {"arguments": _FACTORY_FAST}, KEEP_MEMORY),
        Contender("llama-factory-eager", f"{_FACTORY_SAYS}, eager attention", "best", "llama_factory_sft.py",
                  "llama-factory", {"arguments": {**_FACTORY_FAST, "flash_attn": "disabled"}}, KEEP_MEMORY),
    ),
)  # fmt: skip

_TEN_EPOCHS = {"per_device_train_batch_size": 32, "learning_rate": 2e-3, "num_train_epochs": 10}

HEAD = Job(
    name="C",
    title="MiniLM, head only, 10 epochs on the sentences of job A",
    model="minilm",
    rows="reviews",
    size=Size(6920, 1821),
    small=Size(128, 64),
    max_length=128,
    unit="samples",
    score="accuracy",
    better="higher",
    work={"kind": "encoder", "moves": "head", "epochs": 10, "batch": 32},
    targets={"best": 15},
    contenders=(
        _weitiao("head, defaults", {"task": "text-classification", "method": "head", "data": _ALL_TRAIN,
                                    "training": {"epochs": 10, "batch_size": 32}}),
        *_trainer("trainer_classification.py", _TEN_EPOCHS, top_layers=0),
    ),
)  # fmt: skip

_FOUR_EPOCHS = {"per_device_train_batch_size": 32, "learning_rate": 2e-4, "num_train_epochs": 4}

TOP_LAYERS = replace(
    HEAD,
    name="C2",
    title="MiniLM, `layers`: head and the top 2 of 6 layers, 4 epochs on the sentences of job A",
    work={"kind": "encoder", "moves": "layers", "top": 2, "epochs": 4, "batch": 32},
    targets={},
    contenders=(
        _weitiao("layers, top 2, else defaults",
                 {"task": "text-classification", "method": {"name": "layers", "top": 2}, "data": _ALL_TRAIN,
                  "training": {"epochs": 4, "batch_size": 32}}),
        *_trainer("trainer_classification.py", _FOUR_EPOCHS, top_layers=2),
    ),
)  # fmt: skip

MASKED = Job(
    name="D1",
    title="MiniLM with a new masked-LM head, passages of up to 128 tokens, 15% masked, batch 32, 1 epoch",
    model="minilm",
    rows="passages",
    size=Size(1500, 200),
    small=Size(64, 16),
    max_length=128,
    unit="tokens",
    score="masked_loss",
    better="lower",
    work={"kind": "masked", "moves": "all", "batch": 32, "labelled": 0.15},
    contenders=(
        _weitiao("language-modeling, full, defaults",
                 {"task": {"name": "language-modeling", "block_length": 128, "mask_share": 0.15,
                           "whole_words": False},
                  "method": "full", "data": _ALL_TRAIN, "training": {"epochs": 1, "batch_size": 32}}),
        *_trainer("trainer_masked.py", _ONE_BATCH, mask_share=0.15),
    ),
)  # fmt: skip

_SEQ2SEQ = {"per_device_train_batch_size": 8, "learning_rate": 3e-4}

SEQ2SEQ = Job(
    name="D2",
    title="T5-small's shape with random weights (no package carries a pretrained one), abstracts to one sentence, "
    "batch 8, 1 epoch",
    model="t5_shape",
    rows="abstracts",
    size=Size(400, 100),
    small=Size(16, 8),
    max_length=512,
    unit="tokens",
    score="target_loss",
    better="lower",
    work={"kind": "seq2seq", "moves": "all", "batch": 8},
    contenders=(
        _weitiao("summarization, full, the Trainer's rate",
                 {"task": "summarization", "method": "full", "data": _ALL_TRAIN,
                  "training": {"epochs": 1, "batch_size": 8, "learning_rate": 3e-4}}),
        *_trainer("trainer_seq2seq.py", _SEQ2SEQ)[:2],  # T5 has its own attention: there is nothing to choose
    ),
)  # fmt: skip


def _pipeline(size: int, role: Role, name: str = "", says: str = "", **more: Any) -> Contender:
    return Contender(f"pipeline-{size}{name}", f"pipeline {{transformers}}, batch {size}{says}", role,
                     "pipeline_predict.py", "transformers", {"batch_size": size, **more},
                     _kept(role))  # fmt: skip


_FIRST = {"task": "text-classification", "method": "head", "data": _ALL_TRAIN, "training": {"epochs": 3}}

PREDICTION = Job(
    name="E1",
    title="Batch prediction, MiniLM classifier, 5,000 sentences",
    model="minilm",
    rows="reviews_to_predict",
    size=Size(1000, 5000),
    small=Size(64, 128),
    max_length=128,
    unit="samples",
    score="predicted_labels",
    better="higher",
    targets={"best batch size": 3, "best": 3},
    first=_FIRST,
    contenders=(
        _weitiao("predict, defaults", {}, "weitiao_predict.py"),
        _pipeline(1, "as it comes", says=" (its default)"),
        *(_pipeline(size, "best batch size") for size in (8, 32, 128)),
        _pipeline(32, "best", "-sorted", ", texts sorted by length, bf16", sort=True, dtype="bfloat16"),
        _pipeline(128, "best", "-sorted", ", texts sorted by length, bf16", sort=True, dtype="bfloat16"),
    ),
)  # fmt: skip


def _generate(size: int, role: Role, dtype: str) -> Contender:
    says = f"generate {{transformers}}, batches of {size} as they arrive, {dtype}"
    return Contender(f"generate-{size}-{dtype}", says, role, "generate_replies.py", "transformers",
                     {"batch_size": size, "dtype": dtype, "max_new_tokens": 64},
                     _kept(role))  # fmt: skip


GENERATION = Job(
    name="E2",
    title="Generation, SmolLM2-135M, 64 prompts, up to 64 new tokens, greedy",
    model="smollm2",
    rows="prompts",
    size=Size(8, 64),
    small=Size(8, 4),
    max_length=512,
    unit="samples",
    score="replies",
    better="higher",
    targets={"best": 2},
    first={"task": {"name": "chat", "generation": {"max_new_tokens": 64}}, "data": _ALL_TRAIN,
           "method": {"name": "lora", "rank": 8}, "training": {"epochs": 1, "batch_size": 8}},
    contenders=(
        _weitiao("predict, defaults", {}, "weitiao_predict.py"),
        _generate(8, "as it comes", "float32"),
        _generate(16, "best", "float32"),
        *(_generate(size, "best", "bfloat16") for size in (8, 16, 32, 64)),
    ),
)  # fmt: skip

_EVAL: Mapping[str, Any] = {"use_cpu": True, "report_to": "none"}
_EVAL_FAST: Mapping[str, Any] = {**_EVAL, "bf16_full_eval": True, "disable_tqdm": True, "dataloader_pin_memory": False}


def _evaluated(size: int, role: Role, name: str = "", says: str = "", **more: Any) -> Contender:
    arguments = {**(_EVAL_FAST if role == "best" else _EVAL), "per_device_eval_batch_size": size}
    return Contender(f"evaluate-{size}{name}", f"Trainer.evaluate {{transformers}}, batch {size}{says}", role,
                     "trainer_evaluate.py", "transformers", {"arguments": arguments, **more},
                     _kept(role))  # fmt: skip


EVALUATION = replace(
    PREDICTION,
    name="E3",
    title="Evaluation, MiniLM classifier, accuracy on 5,000 labelled sentences",
    score="told_accuracy",
    first={**_FIRST, "evaluation": {"baselines": False}},  # the Trainer measures none either
    contenders=(
        _weitiao("evaluate without baselines, else defaults: scores of each class, intervals, mistakes", {},
                 "weitiao_evaluate.py"),
        _evaluated(8, "best batch size", says=" (its default), fp32"),
        *(_evaluated(size, "best batch size", says=", fp32") for size in (32, 128)),
        *(_evaluated(size, "best", "-sorted", ", texts sorted by length, bf16", sort=True) for size in (32, 128)),
        *(_evaluated(size, "best", "-eager", ", texts sorted by length, bf16, eager attention", sort=True,
                     model={"attn_implementation": "eager"}) for size in (32, 128)),
    ),
)  # fmt: skip

_SAME = {
    "num_train_epochs": 3, "per_device_train_batch_size": 32, "learning_rate": 2e-4, "weight_decay": 0.01,
    "warmup_steps": 0.1, "train_sampling_strategy": "group_by_length",
}  # fmt: skip

PARITY = Job(
    name="P",
    title="banking77 (77 intents), MiniLM, full, 3 epochs: the same hyper-parameters on both sides, fp32",
    model="minilm",
    rows="intents",
    size=Size(10_003, 3_080),
    small=Size(231, 77),
    max_length=256,
    unit="samples",
    score="accuracy",
    better="higher",
    work={"kind": "encoder", "moves": "all", "epochs": 3, "batch": 32},
    contenders=(
        _weitiao("the Trainer's hyper-parameters",
                 {"task": "text-classification", "data": _ALL_TRAIN,
                  "method": {"name": "full", "head_rate": 1},  # one rate for all, as on the other side
                  "training": {"epochs": 3, "learning_rate": 2e-4, "batch_size": 32, "precision": "fp32"}}),
        Contender("trainer", "Trainer {transformers}: fp32, grouped by length", "as it comes",
                  "trainer_classification.py", "transformers", {"arguments": {**COMES, **_SAME}}),
    ),
)  # fmt: skip

# --- few examples: SetFit draws pairs, as many for each text as `num_iterations` says twice (20 in its paper)

FEW_EXAMPLES = Job(
    name="F",
    title="MiniLM, 8 examples of each of banking77's 77 intents: a sentence encoder by contrast, then a head",
    model="minilm",
    rows="intents",  # one of each intent in turn
    size=Size(616, 1000),
    small=Size(154, 77),
    max_length=128,
    unit="samples",
    score="labels",
    better="higher",
    targets={"as it comes": 1},
    contenders=(
        _weitiao("few-shot, defaults", {"task": "text-classification", "method": "few-shot", "data": _ALL_TRAIN,
                                        "training": {}}),
        Contender("setfit", "SetFit {setfit}: 20 pairs of each kind a text, batch 16, else as it comes", "as it comes",
                  "setfit_train.py", "setfit", {"arguments": {"num_iterations": 20}}),
        Contender("setfit-best", "SetFit {setfit}: 5 pairs of each kind a text, batch 16, glibc keeps memory", "best",
                  "setfit_train.py", "setfit", {"arguments": {"num_iterations": 5}}, KEEP_MEMORY),
    ),
)  # fmt: skip

JOBS: tuple[Job, ...] = (
    CLASSIFICATION, INSTRUCTIONS, HEAD, TOP_LAYERS, MASKED, SEQ2SEQ, PREDICTION, GENERATION, EVALUATION, PARITY,
    FEW_EXAMPLES,
)  # fmt: skip


def chosen(names: str, peers: str) -> list[tuple[Job, tuple[Contender, ...]]]:
    """Return the jobs whose names begin with one of `names`, each with Weitiao and the peers that begin with one of
    `peers`; a whole name stands for itself alone. Both are separated by commas, and an empty one stands for all. A
    `ValueError` names what is not there.
    """
    wanted, who = _words(names), _words(peers)
    jobs = [job.name for job in JOBS]
    everybody = sorted({contender.name for job in JOBS for contender in job.contenders})
    _check(wanted, jobs)
    _check(who, everybody)
    found = []
    for job in JOBS:
        if not _meant(job.name, wanted, jobs):
            continue
        sides = tuple(c for c in job.contenders if c.role == "weitiao" or _meant(c.name, who, everybody))
        if len(sides) > 1 or who == ["weitiao"]:
            found.append((job, sides))
    return found


def _meant(name: str, words: list[str], there: list[str]) -> bool:
    return not words or any(name == word if word in there else name.startswith(word) for word in words)


def _check(words: list[str], there: list[str]) -> None:
    for word in words:
        if not any(name.startswith(word) for name in there):
            raise ValueError(f"there is no '{word}'; there is: {', '.join(there)}")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
