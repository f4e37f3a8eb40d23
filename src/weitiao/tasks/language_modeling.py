"""Language modelling: adapt a pretrained model to a domain with nothing but its texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from weitiao.data.formats.base import Layout
from weitiao.errors import DataError, ModelError, RecipeError
from weitiao.metrics.perplexity import Perplexity, PerplexityScorer
from weitiao.metrics.sums import Floats
from weitiao.recipe import Settings
from weitiao.records import (
    FAMILIES,
    Batch,
    Column,
    Example,
    Family,
    Finding,
    Head,
    Modality,
    Prediction,
    Pretrained,
    Reader,
    SplitName,
)
from weitiao.tasks import base
from weitiao.tasks.blocks import Loss, Objective, text_tokens
from weitiao.tasks.corruption import LEAST_SENTINELS, Corruption, find_sentinels
from weitiao.tasks.inputs import check_text, place
from weitiao.tasks.masking import Masking
from weitiao.tasks.next_token import NextToken
from weitiao.tasks.packing import Packs
from weitiao.tasks.segmenting import Chinese, has_chinese, jieba_is_there
from weitiao.tasks.sequences import token_divergence, token_loss

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

Auto = Literal["auto"]
Learned = Literal["next", "masked", "spans", "infilled"]  # what the model says: the objective

BLOCK = 512  # tokens; what most encoders take, and what a small machine trains on
SAMPLE = 200  # texts looked at
SHOWN = 300  # characters of a document that people are shown
UNKNOWN = 0.02  # share of tokens the tokenizer does not know that is worth a warning
SHARE: dict[Learned, float | None] = {"next": None, "masked": 0.15, "spans": 0.15, "infilled": 0.3}
MEAN_SPAN = 3.0
ONLY: dict[str, tuple[Learned, ...]] = {  # options that mean nothing to the other objectives
    "mask_share": ("masked", "spans", "infilled"), "mean_span": ("spans", "infilled"), "whole_words": ("masked",),
    "chinese_words": ("masked",), "one_by_one": ("masked",), "packing": ("next",),
}  # fmt: skip
HEADS: dict[Family, str] = {
    "encoder": "AutoModelForMaskedLM", "decoder": "AutoModelForCausalLM", "seq2seq": "AutoModelForSeq2SeqLM",
}  # fmt: skip
USAGE: dict[Learned, str] = {
    "masked": """\
from transformers import pipeline

fill = pipeline("fill-mask", ".")
print(fill(f"your text with one {fill.tokenizer.mask_token} in it"))
""",
    "next": """\
from transformers import pipeline

write = pipeline("text-generation", ".")
print(write("how your text begins", max_new_tokens=50))
""",
    "spans": """\
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("."), AutoModelForSeq2SeqLM.from_pretrained(".")
inputs = tokenizer("your text with <extra_id_0> in it", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=20)[0]))
""",
    "infilled": """\
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained("."), AutoModelForSeq2SeqLM.from_pretrained(".")
inputs = tokenizer(f"your text with {tokenizer.mask_token} in it", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=50)[0], skip_special_tokens=True))
""",
}


class LanguageModelingOptions(Settings):
    """Options of the task `language-modeling`."""

    block_length: Annotated[int, Field(ge=2)] | Auto = Field("auto", union_mode="left_to_right")
    """Tokens that are read at once, special tokens included; a longer document is cut into blocks. Never more than
    `model.max_length`. `auto`: 512, or what the model takes."""
    mask_share: Annotated[float, Field(gt=0, lt=1)] | Auto | None = Field("auto", union_mode="left_to_right")
    """Encoders and encoder-decoders: share of the tokens that are hidden. `auto`: 0.15; with text infilling 0.3."""
    mean_span: Annotated[float, Field(ge=1)] | Auto | None = Field("auto", union_mode="left_to_right")
    """Encoder-decoders: tokens of a hidden span on average. `auto`: 3."""
    whole_words: bool | Auto | None = "auto"
    """Encoders: mask all tokens of a word together. `auto`: yes, where the tokenizer tells which characters a token
    stands for."""
    chinese_words: Literal["jieba", "characters"] | Auto | None = "auto"
    """Encoders: what a word is in Chinese. `auto`: the words of `jieba` where it is installed, else single
    characters."""
    one_by_one: bool = False
    """Encoders: measure each token with it alone masked (Salazar et al. 2020), one pass a token, instead of
    `mask_share` of the tokens at a time. Exact, and many times slower."""
    packing: bool = False
    """Decoders: train on several short blocks in one row, without letting them see each other. The same result with
    less padding."""


class Language(base.Prepared):
    """What is learned, and the tokens it takes."""

    objective: Learned
    vocabulary: int  # tokens there are
    sentinels: list[int]


class LanguageModeling(Packs, base.Prepares[Language]):
    """Domain adaptation on raw text. Encoders: masked language modelling; decoders: the next token;
    encoder-decoders: span corruption, or text infilling where the tokenizer has a mask token and no sentinels.
    """  # fmt: skip

    name: ClassVar[str] = "language-modeling"
    families: ClassVar[frozenset[Family]] = frozenset(FAMILIES)
    reads: ClassVar[Modality] = "text"
    layout: ClassVar[Layout | None] = "documents"
    columns: ClassVar[tuple[Column, ...]] = (
        Column("text", ("text", "document", "content", "body", "article", "passage", "文本", "内容", "正文"),
               description="the raw text of a document"),
    )  # fmt: skip
    parts: ClassVar[Mapping[str, base.Part]] = {}
    baselines: ClassVar[tuple[str, ...]] = ("untouched", "unigram")
    examples_scored: ClassVar[int | None] = 1000
    too_long: ClassVar[str] = "they are cut into blocks"
    loses: ClassVar[bool] = False
    Options: ClassVar[type[Settings]] = LanguageModelingOptions
    Prepared: ClassVar[type[base.Prepared]] = Language

    def __init__(self, options: LanguageModelingOptions, prepared: Language | None = None) -> None:
        self.options = options
        self.prepared = prepared

    @property
    def objective(self) -> Objective:
        """The way it learns, with its options."""
        options, known = self.options, self.known
        if known.objective == "next":
            return NextToken(options.packing)
        share = _number(options.mask_share)
        if known.objective == "masked":
            chinese: Chinese = "jieba" if options.chinese_words == "jieba" else "characters"
            return Masking(share, options.whole_words is True, chinese, options.one_by_one)
        return Corruption(share, _number(options.mean_span), tuple(known.sentinels))

    def head(self, family: Family) -> Head:
        """A language model's head."""
        return Head(HEADS[family])

    # --- preparing

    def prepare(
        self, splits: Mapping[SplitName, Dataset], pretrained: Pretrained
    ) -> tuple[LanguageModeling, list[Finding]]:
        """Settle the objective and its options; raises where model, options and data do not fit."""
        check_text(splits, "text")
        tokenizer = pretrained.tokenizer
        objective, sentinels = _objective(pretrained)
        texts = splits["train"][:SAMPLE]["text"]
        _check_options(self.options, objective, pretrained)
        self.check_packs(pretrained)
        options = self.options.model_copy(update={
            "block_length": _settled(self.options.block_length, min(BLOCK, pretrained.max_length)),
            "mask_share": _settled(self.options.mask_share, SHARE[objective]),
            "mean_span": _settled(self.options.mean_span, MEAN_SPAN if objective in ONLY["mean_span"] else None),
            "whole_words": _settled(self.options.whole_words, tokenizer.is_fast if objective == "masked" else None),
        })  # fmt: skip
        chinese, findings = _chinese_words(options, texts)
        options = options.model_copy(update={"chinese_words": chinese})
        findings += _unknown_tokens(texts, tokenizer)
        prepared = Language(objective=objective, vocabulary=len(tokenizer), sentinels=sentinels)
        return LanguageModeling(options, prepared), findings

    def tune(self, seen: Iterable[tuple[Sequence[Example], Sequence[Prediction]]]) -> LanguageModeling:
        """Nothing is decided."""
        return self

    # --- texts to losses

    def encode(self, examples: Mapping[str, list[Any]], reader: Reader) -> dict[str, list[Any]]:
        """Cut each text into blocks: `input_ids`, for encoders also `words`, and the `row` a block is of.

        Raises a `DataError` that names the place of a text without a token to learn.
        """
        length = min(int(self.options.block_length), reader.max_length)
        found: dict[str, list[Any]] = {"input_ids": [], "row": []}
        if self.known.objective == "masked":
            found["words"] = []
        for row, features in enumerate(self.objective.encode(examples["text"], reader, length)):
            if not features:
                raise DataError("no token of this text can be learned", where=place(examples, row),
                                fix="Take it out, or choose a model that knows its language.")  # fmt: skip
            for feature in features:
                for name, values in found.items():
                    values.append(row if name == "row" else feature[name])
        return found

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool = False) -> Batch:
        """Hide what is to be learned and pad. What is drawn comes from torch's global generator in `training`, block
        after block, else from the block's own tokens.
        """  # fmt: skip
        return self.objective.collate(features, reader, training=training)

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Cross-entropy summed over the labels."""
        assert batch.labels is not None
        return token_loss(outputs.logits, batch.labels, shifted=self.objective.shifted)

    def divergence(self, one: Any, other: Any, batch: Batch) -> torch.Tensor:
        """Symmetric divergence of two passes, summed over the tokens that carry loss."""
        assert batch.labels is not None
        return token_divergence(one.logits, other.logits, batch.labels, shifted=self.objective.shifted)

    def predict(
        self, model: torch.nn.Module, batch: Batch, reader: Reader, *, answers: bool = True
    ) -> list[Prediction]:
        """Each document's loss (nats, summed), its tokens and their (pseudo-)perplexity."""
        totals: dict[int, list[Loss]] = {}
        for row, loss in zip(batch.rows, self.objective.losses(model, batch, reader), strict=True):
            totals.setdefault(row, []).append(loss)
        return [_prediction(sum(loss for loss, _ in found), sum(n for _, n in found)) for found in totals.values()]

    def counted(self, feature: Mapping[str, Any]) -> list[int]:
        """Return the tokens that a feature's loss is about, for baselines that predict them otherwise."""
        return self.objective.counted(feature)

    def scorer(self) -> base.Scorer:
        """Perplexity of the next token; what sees both sides has a pseudo-perplexity."""
        return PerplexityScorer(_shown, Perplexity() if self.known.objective == "next" else PseudoPerplexity())

    def usage(self, family: Family) -> str:
        """Lines for the model card."""
        return USAGE[self.known.objective]


# --- scoring


class PseudoPerplexity(Perplexity):
    """`loss` and `pseudo_perplexity` of hidden tokens: the model sees what stands behind them, too.

    With ``ceil(1 / share)`` passes a block, each token is predicted once while `share` of the tokens is hidden; one by
    one it is the measure of Salazar et al. 2020 (arXiv:1910.14659). Not to be compared with a perplexity.
    """

    names = ("pseudo_perplexity", "loss")

    def scores(self, sums: Floats) -> dict[str, float]:
        """Return both scores, none without tokens."""
        found = super().scores(sums)
        return {"pseudo_perplexity": found["perplexity"], "loss": found["loss"]} if found else {}


def _prediction(loss: float, tokens: int) -> Prediction:
    perplexity = Perplexity().scores([loss, tokens])["perplexity"] if tokens else math.nan  # type: ignore[arg-type]
    return {"loss": loss, "tokens": tokens, "perplexity": perplexity}


def _shown(example: Example) -> str:
    text = str(example["text"])
    return text if len(text) <= SHOWN else text[:SHOWN].rstrip() + " …"


# --- what fits


def _objective(pretrained: Pretrained) -> tuple[Learned, list[int]]:
    """Return what a model learns, and its sentinels; a `ModelError` where its tokenizer lacks what that takes."""
    tokenizer = pretrained.tokenizer
    if pretrained.family == "decoder":
        return "next", []
    if pretrained.family == "encoder":
        if tokenizer.mask_token_id is None:
            raise ModelError(f"the tokenizer of {pretrained.source} has no mask token", where="model",
                             fix="Choose an encoder that was pretrained by masking.")  # fmt: skip
        return "masked", []
    sentinels = find_sentinels(tokenizer)
    if len(sentinels) >= LEAST_SENTINELS:
        return "spans", sentinels
    if tokenizer.mask_token_id is not None:
        return "infilled", []
    raise ModelError(
        f"the tokenizer of {pretrained.source} has no tokens to hide a text's spans with: neither sentinels "
        "(<extra_id_0>, <extra_id_1>, ...) nor a mask", where="model",
        fix="Choose a model that was pretrained with them, or add some: "
        "model.new_tokens: [<extra_id_0>, <extra_id_1>, ...], about 30 for blocks of 512 tokens.",
    )  # fmt: skip


def _check_options(options: LanguageModelingOptions, objective: Learned, pretrained: Pretrained) -> None:
    for name, those in ONLY.items():
        value = getattr(options, name)
        if objective not in those and value not in ("auto", None, False):
            raise RecipeError(f"has no meaning for {pretrained.source}, a model of the family {pretrained.family}",
                              where=f"task.{name}", fix="Leave it out.")  # fmt: skip
    length = options.block_length
    if length != "auto" and length > pretrained.max_length:
        raise RecipeError(f"{length} tokens, but {pretrained.source} reads {pretrained.max_length} here",
                          where="task.block_length", fix="Use that number or less, or `auto`.")  # fmt: skip
    if options.whole_words is True and not pretrained.tokenizer.is_fast:
        raise RecipeError("the tokenizer does not tell which characters a token stands for", where="task.whole_words",
                          fix="Leave it out.")  # fmt: skip


def _settled(value: Any, found: Any) -> Any:
    return found if value in ("auto", None) else value


def _number(value: float | str | None) -> float:
    if not isinstance(value, int | float):
        raise RuntimeError("language-modeling is used before it was prepared")
    return float(value)


def _chinese_words(
    options: LanguageModelingOptions, texts: Sequence[str]
) -> tuple[Literal["jieba", "characters"] | None, list[Finding]]:
    """Return what a word is in Chinese, None where it does not matter, with a note where jieba would be better."""
    wanted, there = options.chinese_words, jieba_is_there()
    if wanted == "jieba" and not there:
        raise RecipeError("the package jieba is not installed", where="task.chinese_words",
                          fix="pip install 'weitiao[chinese]', or set chinese_words: characters.")  # fmt: skip
    if not options.whole_words:
        return None, []
    if wanted in ("jieba", "characters"):
        return wanted, []
    if not has_chinese(texts):
        return "characters", []  # so that an artifact for other languages does not need jieba
    if there:
        return "jieba", []
    problem = "Chinese is masked by characters, for jieba is not installed: whole words make a better task"
    return "characters", [Finding("note", "task.chinese_words", problem, "pip install 'weitiao[chinese]'")]


def _unknown_tokens(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[Finding]:
    ids = [i for row in text_tokens(texts, tokenizer)["input_ids"] for i in row]
    share = ids.count(tokenizer.unk_token_id) / max(len(ids), 1)
    if share < UNKNOWN:
        return []
    problem = f"the tokenizer knows not {share:.0%} of the tokens of the first {len(texts):,} texts"
    return [Finding("warning", "data.train", problem, "Choose a model that was made for this language.")]
