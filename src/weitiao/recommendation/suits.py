"""Which kinds of models suit a task: the likeliest to do well first, each with the reason. Data, not code."""

from __future__ import annotations

from dataclasses import dataclass

from weitiao.models.catalogue import Entry
from weitiao.recommendation.need import Need
from weitiao.records import Family

SPECIAL = frozenset({"code", "field", "translation", "summaries", "speech"})  # made for one thing


@dataclass(frozen=True)
class Kind:
    """A kind of model, and why it suits."""

    why: str
    family: Family
    traits: frozenset[str] = frozenset()  # that it must have; it has no special one besides
    without: frozenset[str] = frozenset()
    head: str = ""  # what its weights must predict
    few: bool = False  # suits so only where there are few examples
    pair: bool = False  # must be made for the pair of languages
    role: str = ""  # only where the data have a column of this role

    def covers(self, entry: Entry, need: Need) -> bool:
        """Whether a model is of this kind, for what is needed."""
        traits = frozenset(entry.traits)
        if entry.family != self.family or not self.traits <= traits or traits & (self.without | SPECIAL - self.traits):
            return False
        if (self.few and not need.few) or (self.role and self.role not in need.roles):
            return False
        if entry.pairs and need.pair not in entry.pairs:
            return False
        return (not self.pair or bool(entry.pairs)) and self.head in ("", entry.head)


def _set(*names: str) -> frozenset[str]:
    return frozenset(names)


POOLED = _set("sentences")
TOLD = _set("instructions")
SENTENCES = Kind("a sentence encoder: its vectors tell meanings apart before any training, which counts with few rows",
                 "encoder", POOLED, few=True)  # fmt: skip
ENCODER = Kind("an encoder: reads from both sides, the least cost for labels", "encoder")
FIELD = Kind("made for the texts of one field: take it if these are of that", "encoder", _set("field"))
LABELLED = (
    SENTENCES, ENCODER, FIELD,
    Kind("a decoder: it can label, but costs more than an encoder that is as good", "decoder"),
    Kind("an encoder-decoder: it can label, but costs more than an encoder that is as good", "seq2seq"),
)  # fmt: skip
BY_TOKEN = (
    Kind("an encoder that was trained on single words: each token's vector means something", "encoder", without=POOLED),
    FIELD,
    Kind("a sentence encoder: its vectors were trained to be averaged, not to stand for a word", "encoder", POOLED),
)
ASSISTANT = Kind("has learned to follow instructions: little is left to learn but your own", "decoder", TOLD)
WRITER = Kind("a decoder before instructions: it must learn the form as well", "decoder", without=TOLD)
CODER = Kind("made for program code", "decoder", _set("code"))
REWRITER = Kind("an encoder-decoder: made to read one text and write another", "seq2seq")
HEARS = (Kind("made for speech: it hears and writes", "seq2seq", _set("speech")),)

SUITS: dict[str, tuple[Kind, ...]] = {
    "text-classification": LABELLED,
    "text-regression": LABELLED,
    "token-classification": (
        *BY_TOKEN, Kind("a decoder: at a word it has not seen what follows", "decoder"),
    ),
    "question-answering": BY_TOKEN,
    "sentence-embedding": (
        Kind("a sentence encoder: its vectors tell meanings apart already, and are adapted to your texts", "encoder",
             POOLED),
        Kind("an encoder: what vectors of its texts mean is learned from yours alone", "encoder", without=POOLED),
        FIELD,
    ),
    "language-modeling": (
        Kind("a decoder before instructions: it goes on writing, in your field then", "decoder", without=TOLD),
        Kind("an encoder with its head for masked words: to be fine-tuned on labels of your field later", "encoder",
             head="masked"),
        Kind("follows instructions, and may forget to when trained on plain text", "decoder", TOLD),
        REWRITER,
    ),
    "chat": (ASSISTANT, WRITER, CODER, REWRITER),
    "text-generation": (
        Kind("made for program code, and your rows have tests", "decoder", _set("code"), role="tests"),
        ASSISTANT, WRITER, CODER,
    ),
    "text2text-generation": (
        Kind("an encoder-decoder that has learned many tasks by instructions", "seq2seq", TOLD), REWRITER, ASSISTANT,
        WRITER, Kind("made for program code", "seq2seq", _set("code")),
    ),
    "generative-qa": (
        Kind("an encoder-decoder that has learned to answer", "seq2seq", TOLD), ASSISTANT, REWRITER, WRITER,
    ),
    "summarization": (
        Kind("has learned to sum up already", "seq2seq", _set("summaries")), REWRITER, ASSISTANT, WRITER,
    ),
    "translation": (
        Kind("translates this pair of languages already", "seq2seq", _set("translation"), pair=True),
        Kind("translates among many languages already", "seq2seq", _set("translation")), REWRITER, ASSISTANT, WRITER,
    ),
    "automatic-speech-recognition": HEARS,
    "speech-translation": HEARS,
}  # fmt: skip
CUT = frozenset(
    {"sentence-embedding", "text-classification", "text-regression", "token-classification"}
)  # what is too long loses its end

IN_PIECES = frozenset({"question-answering", "language-modeling"})  # what is too long is read piece by piece


def kinds_for(need: Need) -> tuple[Kind, ...]:
    """Return the kinds for a task; for one of another package, one for each family that it takes."""
    own = tuple(Kind(f"a family that '{need.task}' can train", family) for family in sorted(need.families))
    return SUITS.get(need.task, own)


def place_of(entry: Entry, need: Need) -> tuple[int, str] | None:
    """Return the place of a model's kind among those for the task, and why; None where it is of none."""
    for place, kind in enumerate(kinds_for(need)):
        if kind.covers(entry, need):
            return place, kind.why
    return None
