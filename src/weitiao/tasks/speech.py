"""Speech to text: what transcribing and translating by a Whisper model have in common."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from weitiao.data.audio import AUDIO_NAMES, RATE, read_audio
from weitiao.data.formats.base import Layout
from weitiao.errors import DataError, ModelError
from weitiao.metrics.tokens import UNSPACED
from weitiao.recipe import Settings
from weitiao.records import (
    UNTRAINED,
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
    target_role,
)
from weitiao.tasks import base
from weitiao.tasks.generation import GenerationOptions, decoded, generation_config, ready, room_for, until
from weitiao.tasks.inputs import check_text, place
from weitiao.tasks.sequences import stacked, token_divergence, token_loss
from weitiao.tasks.speech_prompt import check_whisper, published_generation, with_prompt

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import GenerationConfig, PreTrainedTokenizerBase

SAMPLE = 1000  # training texts that a language is told from
CHUNK = 1000  # texts tokenized at a time
SOUNDS = 8  # heard together when predicting: each fills 1,500 positions of the encoder and a cache of them
AUDIO = Column("audio", AUDIO_NAMES, kind="any", prose=False,
               description="the sound: a file's path, or samples with sampling_rate")  # fmt: skip

USAGE = """\
import numpy
from transformers import AutoProcessor, WhisperForConditionalGeneration

processor, model = AutoProcessor.from_pretrained("."), WhisperForConditionalGeneration.from_pretrained(".")
speech = numpy.zeros(16000, "float32")  # yours: one channel, 16,000 samples a second
output = model.generate(**processor(speech, sampling_rate=16000, return_tensors="pt"))
print(processor.batch_decode(output, skip_special_tokens=True)[0].strip())
"""


class SpeechOptions(Settings):
    """Options that the tasks on speech share."""

    generation: GenerationOptions = GenerationOptions(max_new_tokens=224)
    """How text is generated for scores and predictions."""


class Heard(base.Prepared):
    """How the model is asked for a text, and what it may write.

    `language` is that of the texts (``other``: not known), `prompt` the control tokens in front of each, `seconds` the
    longest sound that is heard at once. `suppressed` tokens are never written, `suppressed_first` never as the first.
    """

    language: str
    prompt: list[str]
    seconds: float
    suppressed: list[int]
    suppressed_first: list[int]


class Asked(NamedTuple):
    """What a task asks of the model: its options settled, the texts' language, the control tokens."""

    options: SpeechOptions
    language: str
    prompt: list[str]
    findings: list[Finding]


class SpeechToText(base.Prepares[Heard]):
    """Write a text for a sound. Loss: cross-entropy of the text's tokens and its end, nothing of the control tokens.

    A sound is heard as a log-mel spectrogram of 30 seconds, filled up with silence. Spectrograms are made anew for
    each batch: that takes a twentieth of the encoder's time, and kept they would take half a megabyte an example. A
    longer sound is left out of a split, since its text cannot be cut with it; where there is no text it is an error.
    """

    name: ClassVar[str]
    families: ClassVar[frozenset[Family]] = frozenset({"seq2seq"})
    reads: ClassVar[Modality] = "speech"
    columns: ClassVar[tuple[Column, ...]]
    baselines: ClassVar[tuple[str, ...]] = ("untouched",)
    parts: ClassVar[Mapping[str, base.Part]] = {}
    layout: ClassVar[Layout | None] = "audio"
    examples_scored: ClassVar[int | None] = 200
    too_long: ClassVar[str] = "they are left out"
    loses: ClassVar[bool] = True
    Options: ClassVar[type[Settings]] = SpeechOptions
    Prepared: ClassVar[type[base.Prepared]] = Heard

    def __init__(self, options: Any, prepared: Heard | None = None) -> None:
        self.options = options
        self.prepared = prepared

    @property
    def target(self) -> str:
        """The role of the text that is learned."""
        return target_role(self.columns)

    def head(self, family: Family) -> Head:
        """Whisper's own head."""
        return Head("AutoModelForSpeechSeq2Seq")

    def asked(self, texts: Sequence[str], pretrained: Pretrained) -> Asked:
        """Settle the options that are left open, from some texts of the training split."""
        raise NotImplementedError

    # --- preparing

    def prepare(
        self, splits: Mapping[SplitName, Dataset], pretrained: Pretrained
    ) -> tuple[SpeechToText, list[Finding]]:
        """Settle language, control tokens and what may be written; findings tell what will go wrong.

        What a model's publisher suppresses (brackets, quotes, symbols) is allowed where a training text has it.
        """
        check_whisper(pretrained)
        check_text(splits, self.target)
        seconds = _window(pretrained)
        train = splits["train"].select_columns([self.target])
        rows = np.unique(np.linspace(0, len(train) - 1, min(len(train), SAMPLE)).astype(int))
        options, language, prompt, findings = self.asked(train.select(rows)[self.target][:], pretrained)
        reader = pretrained.reader(pretrained.max_length)
        texts = _written(train, self.target, reader, language, room_for(options.generation, reader))
        own = published_generation(pretrained)
        known = Heard(
            language=language, prompt=prompt, seconds=seconds,
            suppressed=[i for i in getattr(own, "suppress_tokens", None) or [] if i not in texts.used],
            suppressed_first=[i for i in getattr(own, "begin_suppress_tokens", None) or [] if i not in texts.first],
        )  # fmt: skip
        return type(self)(options, known), [*findings, *_cut_off(texts, len(train), options.generation, reader)]

    def tune(self, seen: Iterable[tuple[Sequence[Example], Sequence[Prediction]]]) -> SpeechToText:
        """Nothing is decided."""
        return self

    # --- examples to batches

    def encode(self, examples: Mapping[str, list[Any]], reader: Reader) -> dict[str, list[Any]]:
        """Check each sound and tokenize its text: control tokens, text, end of text, the text and its end learned.

        Features: `input_ids`; `labels`, as long, -100 on the control tokens, where there are texts; `path` of the
        sound's file, or the file itself as `sound` where it has none; `where` it comes from; `row`. Raises a
        `DataError` that names the row of what is no sound.
        """
        control = self._control(reader.tokenizer)
        texts = examples.get(self.target)
        ids = None if texts is None else text_ids(texts, reader.tokenizer, self.known.language)
        names = ("input_ids", *(["labels"] if ids is not None else []), "path", "sound", "where", "row")
        features: dict[str, list[Any]] = {name: [] for name in names}
        for row, value in enumerate(examples["audio"]):
            where = f"{place(examples, row)} (audio)"
            samples = read_audio(value, where)
            written = [] if ids is None else [*ids[row], int(reader.tokenizer.eos_token_id)]
            if not self._fits(samples, where, written, len(control), reader):
                continue
            found = {"input_ids": control + written, "labels": [UNTRAINED] * len(control) + written,
                     **_kept(value, samples), "where": where, "row": row}  # fmt: skip
            for name, values in features.items():
                values.append(found[name])
        return features

    def _fits(self, samples: np.ndarray, where: str, written: list[int], control: int, reader: Reader) -> bool:
        seconds = len(samples) / RATE
        if not written and seconds > self.known.seconds:
            raise DataError(f"the sound lasts {seconds:.4g} seconds, the model hears {self.known.seconds:g} at once",
                            where=where, fix="Cut it where nobody speaks.")  # fmt: skip
        return seconds <= self.known.seconds and control + len(written) <= reader.max_length

    def collate(self, features: list[dict[str, Any]], reader: Reader, *, training: bool = False) -> Batch:
        """Read the sounds and pad the tokens on the right.

        `input_features` are (examples, bands, frames), `decoder_input_ids` and the labels (examples, tokens): what the
        decoder reads, and what follows on each of it.
        """
        extractor: Any = reader.feature_extractor
        sounds = [read_audio(f["path"] or f["sound"], f["where"]) for f in features]
        spectrograms = extractor(sounds, sampling_rate=RATE, return_tensors="pt").input_features
        pad = int(reader.tokenizer.pad_token_id or 0)
        labels = None
        if "labels" in features[0]:
            labels = stacked([f["labels"][1:] for f in features], UNTRAINED)
        read = [f["input_ids"] if labels is None else f["input_ids"][:-1] for f in features]
        return Batch(
            inputs={"input_features": spectrograms, "decoder_input_ids": stacked(read, pad)}, labels=labels,
            targets=0.0 if labels is None else float((labels != UNTRAINED).sum()),
            tokens=sum(len(f["input_ids"]) for f in features), rows=[f["row"] for f in features],
            features=list(features), read=None if labels is None else labels != UNTRAINED,
        )  # fmt: skip

    def _control(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        return [int(tokenizer.convert_tokens_to_ids(token)) for token in self.known.prompt]

    # --- batches to loss and predictions

    def loss(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Cross-entropy summed over the tokens of the texts and their ends, in fp32."""
        if batch.labels is None:
            raise ValueError("a batch without texts has no loss")
        return token_loss(outputs.logits, batch.labels, shifted=False)

    def divergence(self, one: Any, other: Any, batch: Batch) -> torch.Tensor:
        """Symmetric divergence of two passes, summed over the tokens that carry loss."""
        assert batch.labels is not None
        return token_divergence(one.logits, other.logits, batch.labels, shifted=False)

    def predict(
        self, model: torch.nn.Module, batch: Batch, reader: Reader, *, answers: bool = True
    ) -> list[Prediction]:
        """Return ``{text}``, and where there are targets their ``loss`` (nats, summed) and ``tokens``.

        The encoder hears each sound once for both. Text is always written: it is what the primary score measures.
        """
        import torch

        config, found = self.generation_config(model, reader), []
        with torch.inference_mode(), _quiet(), ready(model, config, self.options.generation):
            for start in range(0, len(batch.features), SOUNDS):
                found += self._heard(model, batch, slice(start, start + SOUNDS), config, reader)
        return found

    def _heard(
        self, model: Any, batch: Batch, rows: slice, config: GenerationConfig, reader: Reader
    ) -> list[Prediction]:
        hidden = model.get_encoder()(batch.inputs["input_features"][rows])
        # once, whatever is written: a time, though not asked for, would make Whisper hear on from there
        how: dict[str, Any] = {"generation_config": config, "force_unique_generate_call": True}
        if config.do_sample:
            how["temperature"] = config.temperature  # Whisper takes it from here alone
        ids = model.generate(encoder_outputs=hidden, **how)[:, len(self.known.prompt) :]
        texts = decoded([until(row, [config.eos_token_id]) for row in ids.tolist()], reader)
        predictions: list[Prediction] = [{"text": text} for text in texts]
        if batch.labels is None:
            return predictions
        logits = model(encoder_outputs=hidden, decoder_input_ids=batch.inputs["decoder_input_ids"][rows]).logits
        measured = _losses(logits, batch.labels[rows])
        return [p | {"loss": loss, "tokens": tokens} for p, (loss, tokens) in zip(predictions, measured, strict=True)]

    def generation_config(self, model: torch.nn.Module, reader: Reader) -> GenerationConfig:
        """Return how texts are generated here, control tokens and all, for plain `transformers`."""
        tokenizer = reader.tokenizer
        config = generation_config(model, reader, self.options.generation, [int(tokenizer.eos_token_id)])
        config.eos_token_id = int(tokenizer.eos_token_id)  # Whisper's own generating compares it to one number
        config.suppress_tokens = list(self.known.suppressed) or None
        config.begin_suppress_tokens = list(self.known.suppressed_first) or None
        with_prompt(config, self.known.prompt, tokenizer)
        return config

    def references(self, example: Example) -> list[str]:
        """Return the text that would be right."""
        return [str(example[self.target])]

    def given(self, example: Example) -> str:
        """Return the name of the sound's file, for people."""
        value = example["audio"]
        return Path(value).name if isinstance(value, str) and not value.startswith("{") else "a sound"

    def usage(self, family: Family) -> str:
        """Lines for the model card."""
        return USAGE


@contextmanager
def _quiet() -> Iterator[None]:
    """Whisper's generating in `transformers` warns of what it does itself."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


# --- texts


def text_ids(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, language: str) -> list[list[int]]:
    """Tokenize texts as Whisper was pretrained on them, with a blank in front where the language has blanks.

    Control tokens that somebody wrote into a text are read as the letters they are made of.
    """
    if not texts:
        return []
    before = "" if language in UNSPACED else " "
    found = tokenizer([before + text.strip() for text in texts], add_special_tokens=False, split_special_tokens=True,
                      return_attention_mask=False, verbose=False)  # fmt: skip
    return [list(row) for row in found["input_ids"]]


class _Texts(NamedTuple):
    """What the training texts are made of."""

    used: set[int]  # tokens
    first: set[int]  # tokens that texts begin with
    longest: int  # tokens
    long: int  # texts longer than what is generated


def _written(train: Dataset, role: str, reader: Reader, language: str, room: int) -> _Texts:
    used: set[int] = set()
    first: set[int] = set()
    longest = long = 0
    for rows in _rows_of(train, role, reader.tokenizer, language):
        used.update(*rows)
        first.update(row[0] for row in rows if row)
        longest = max(longest, *map(len, rows))
        long += sum(len(row) >= room for row in rows)  # the end of text takes one more
    return _Texts(used, first, longest, long)


def _rows_of(train: Dataset, role: str, tokenizer: PreTrainedTokenizerBase, language: str) -> Iterator[list[list[int]]]:
    for batch in train.iter(CHUNK):
        yield text_ids(batch[role], tokenizer, language)


def _cut_off(texts: _Texts, count: int, options: GenerationOptions, reader: Reader) -> list[Finding]:
    if not texts.long:
        return []
    room = room_for(options, reader)
    problem = (f"{texts.long:,} of {count:,} training texts are longer than the {room:,} tokens that are generated "
               f"(the longest has {texts.longest:,}): such texts will be cut off")  # fmt: skip
    return [Finding("warning", "task.generation.max_new_tokens", problem, "Raise it if it can be.")]


# --- sounds


def _window(pretrained: Pretrained) -> float:
    """Seconds that the model hears at once."""
    extractor: Any = pretrained.feature_extractor
    samples, rate = getattr(extractor, "n_samples", None), getattr(extractor, "sampling_rate", None)
    if not samples or rate != RATE:
        raise ModelError(f"{pretrained.source} does not hear sound as Whisper does: {RATE:,} samples a second, "
                         "so many at once", where="model", fix="Choose a Whisper model.")  # fmt: skip
    return float(samples / rate)


def _kept(value: Any, samples: np.ndarray) -> dict[str, Any]:
    """What a sound is read from again: its file's path, else the file's bytes, or samples as such a file."""
    if isinstance(value, Mapping) and value.get("bytes"):
        return {"path": "", "sound": value["bytes"]}
    if isinstance(value, str) and not value.lstrip().startswith("{"):
        return {"path": value, "sound": b""}
    if isinstance(value, bytes):
        return {"path": "", "sound": value}
    from scipy.io import wavfile

    file = io.BytesIO()
    wavfile.write(file, RATE, samples)
    return {"path": "", "sound": file.getvalue()}


# --- numbers


def _losses(logits: torch.Tensor, labels: torch.Tensor) -> list[tuple[float, int]]:
    """Return (loss, tokens) of each row: nats summed over what is learned of it."""
    from torch.nn import functional

    each = functional.cross_entropy(
        logits.float().transpose(1, 2), labels, ignore_index=UNTRAINED, reduction="none"
    ).sum(1)  # fmt: skip
    counts = (labels != UNTRAINED).sum(1)
    return list(zip(each.tolist(), counts.tolist(), strict=True))
