"""Classifiers that learn nothing: a decoder is asked which label's words are likeliest behind the text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from weitiao.errors import ModelError, RecipeError, nearest
from weitiao.evaluation.baselines.base import Knows
from weitiao.evaluation.baselines.labels import features, prediction, text_of
from weitiao.evaluation.baselines.similar import Similar, drawn
from weitiao.evaluation.evaluate import Inference, Labelled
from weitiao.metrics.classification import label_names
from weitiao.recipe import Settings
from weitiao.records import Example, Family, Prediction, Reader, SplitName
from weitiao.tasks.prompts import check_prompt, fill, prompt_roles
from weitiao.tasks.sequences import prompt_ids, token_ids

LABEL = "{label}"
EMPTY = ("N/A", "[MASK]", "")  # texts without content (Zhao et al. 2021)
BETWEEN = "\n\n"  # two examples
MOST_TOKENS = 2048  # of a prompt, where the model takes more
LONG = 3  # tokens of a label's words, or of a pattern, for an estimate
CHUNK = 256  # examples whose prompts are in memory at once
LOOKED_AT = 1000  # texts by which Chinese is told from other languages


class LabelWordsOptions(Settings):
    """Options of `label-words`."""

    pattern: str = "auto"
    """What the model reads, with the task's roles in braces, `{label}` at the end: `"{text}\\nSentiment: {label}"`.
    `auto`: the text and, in the next line, `Label: {label}`; of Chinese texts `标签：{label}`."""
    words: dict[str, str] = Field({})
    """What stands for a label in the pattern: `{pos: great, neg: terrible}`. Where none is given its name, with blanks
    for `_` and `-`."""
    calibrate: bool = True
    """Divide the probabilities by those for texts without content, `N/A`, `[MASK]` and nothing, which take away what
    the model says whatever it reads (Zhao et al. 2021); words that are long or rare, too, are then no worse off."""
    length: Literal["sum", "mean"] = "sum"
    """Of the log-probabilities of a label's tokens their `sum`, or their `mean`, which without calibration puts long
    words at less of a disadvantage. Where one label's words begin another's, the line break behind them counts as a
    token of each."""

    def words_of(self, labels: Sequence[str]) -> dict[str, str]:
        """What stands for each label."""
        return {label: self.words.get(label) or as_words(label) for label in labels}


class NearestExamplesOptions(LabelWordsOptions):
    """Options of `nearest-examples`."""

    calibrate: bool = False
    """Divide the probabilities by those for texts without content behind the same examples (Zhao et al. 2021). These
    have the nearest labels in them, which is most of what the examples tell: it made scores worse where we measured."""
    examples: int = Field(8, ge=1)
    """Training examples in front of each text; fewer where they do not fit into what the model takes."""


class LabelWords:
    """The label whose words the pretrained model finds likeliest behind the text (Brown et al. 2020)."""

    knows: Knows = "before training"
    families: ClassVar[frozenset[Family]] = frozenset({"decoder"})
    Options: ClassVar[type[LabelWordsOptions]] = LabelWordsOptions

    def __init__(
        self, options: LabelWordsOptions, task: Any, language_model: Callable[[], Inference], *, seed: int = 0
    ) -> None:
        self.name = "label words" + ("" if options.calibrate else ", not calibrated")
        self.notes: list[str] = []
        self.options, self.seed = options, seed
        self._labels: list[str] = task.prepared.labels
        self._load = language_model
        self._empty: NDArray[np.float64] | None = None  # log-probabilities of the labels for no text

    @staticmethod
    def reads(options: Any, *, text: float, shown: float, labels: int, most: int) -> float:  # noqa: ARG004
        """About how many tokens are read for a text of `text` tokens by a model that takes `most`; `shown` has a
        training example on average. All labels are taken to be read in one pass, as a tree.
        """  # fmt: skip
        return min(text + LONG, most, MOST_TOKENS) + LONG * labels

    @staticmethod
    def check(options: LabelWordsOptions, labels: Sequence[str], roles: Sequence[str], reader: Reader) -> None:
        """Raise a `RecipeError` where pattern or words are not about these labels, or these roles of what is read; as
        `Prompts.of` does where `reader` cannot be asked by them.
        """  # fmt: skip
        if options.pattern != "auto":
            check_prompt(options.pattern, [*roles, "label"], where="pattern")
            asks = options.pattern.removesuffix(LABEL)
            if asks == options.pattern or LABEL in asks or not any(f"{{{role}}}" in asks for role in roles):
                named = " or ".join(f"{{{role}}}" for role in roles)
                raise RecipeError(f"the pattern {options.pattern!r} does not have {named} before one {LABEL} at its "
                                  "end", where="pattern", fix='For example "{text}\\nLabel: {label}".')  # fmt: skip
        for label, word in options.words.items():
            if label not in labels:
                raise RecipeError(f"words are given for '{label}', which is no label", where="words",
                                  fix=nearest(label, labels))  # fmt: skip
            if not word.strip():
                raise RecipeError(f"the label '{label}' has no words", where="words",
                                  fix="Write what the model shall say for it.")  # fmt: skip
        pattern = usual_pattern() if options.pattern == "auto" else options.pattern
        Prompts.of(pattern, options.words_of(labels), reader)

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Load the model and ask it about texts without content; of training only the language is looked at."""
        self._open(on)
        if self.options.calibrate:
            self._empty = _without_content(self._scores([self._prompts.empty("")])[0])

    def _open(self, on: Mapping[SplitName, Labelled]) -> None:
        self.notes = []  # it may be fitted again, for other data to measure on
        self._inference = self._load()
        pattern = pattern_for(on["train"]) if self.options.pattern == "auto" else self.options.pattern
        self._prompts = Prompts.of(pattern, self.options.words_of(self._labels), self._inference.reader)
        self._together, self._extent = True, (0, 0)

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield one prediction an example."""
        anew = self.options.calibrate and self._empty is None  # texts without content are asked about each time
        for examples in on.chunks(CHUNK):
            asked = [
                [self._prompts.asked(example, shown), *(self._prompts.empty(shown) if anew else [])]
                for example, shown in self._shown(examples)
            ]
            for scores in self._scores(asked):
                empty = _without_content(scores[1:]) if anew else self._empty
                yield prediction(self._labels, _softmax(scores[0] - (0.0 if empty is None else empty)))

    def _shown(self, examples: Sequence[Example]) -> Iterator[tuple[Example, str]]:
        """Each example with what is shown before it."""
        yield from ((example, "") for example in examples)

    def _scores(self, prompts: list[list[list[int]]]) -> list[NDArray[np.float64]]:
        """The labels' log-probabilities behind each prompt of each example, shape (prompts, labels)."""
        from weitiao.evaluation.baselines.branches import likelihoods

        self._check_together(prompts)
        scores = likelihoods(self._inference, prompts, self._prompts.labels, together=self._together)
        lengths = np.array([len(tokens) for tokens in self._prompts.labels])
        return [each / lengths for each in scores] if self.options.length == "mean" else scores

    def _check_together(self, prompts: list[list[list[int]]]) -> None:
        """Find out whether the model reads several labels at once behind such prompts."""
        from weitiao.evaluation.baselines.branches import extent, reads_together

        if not self._together:
            return
        known, (longest, largest) = self._extent, extent(prompts, self._prompts.labels)
        self._extent = max(known[0], longest), max(known[1], largest)
        self._together = self._extent == known or reads_together(self._inference, *self._extent)
        if not self._together:
            self.notes.append("each label is read in a pass of its own: this model does not read several at once")


class NearestExamples(LabelWords):
    """The same behind the training examples that are most like the text by TF-IDF, the nearest last (Liu et al. 2022).

    With calibration texts without content are asked about behind the same examples.
    """

    knows: Knows = "examples"
    Options: ClassVar[type[LabelWordsOptions]] = NearestExamplesOptions
    options: NearestExamplesOptions

    @staticmethod
    def reads(options: Any, *, text: float, shown: float, labels: int, most: int) -> float:
        """Also the examples in front; and with calibration the labels behind texts without content."""
        prompt = min(options.examples * (shown + 2 * LONG) + text + LONG, most, MOST_TOKENS)
        return float(prompt + LONG * labels + LONG * (1 + labels) * len(EMPTY) * options.calibrate)

    def __init__(
        self, options: NearestExamplesOptions, task: Any, language_model: Callable[[], Inference], *, seed: int = 0
    ) -> None:
        super().__init__(options, task, language_model, seed=seed)
        self.name = "nearest examples in the prompt" + (", calibrated" if options.calibrate else "")

    def fit(self, on: Mapping[SplitName, Labelled], untouched: Callable[[], Inference]) -> None:
        """Load the model and index the training examples, a sample where there are many; a note says so."""
        self._open(on)
        known = list(chain.from_iterable(drawn(on["train"], self.seed, self.notes).chunks()))
        self._known = Similar(list(map(text_of, known)), features)
        self._texts = [self._prompts.shown(example) for example in known]

    def predict(self, on: Labelled) -> Iterator[Prediction]:
        """Yield one prediction an example; how many examples were shown is noted at the end."""
        self._counts: list[int] = []
        yield from super().predict(on)
        fewer = sum(count < min(self.options.examples, len(self._texts)) for count in self._counts)
        if fewer:
            self.notes.append(f"{fewer:,} of {len(self._counts):,} prompts have fewer than {self.options.examples} "
                              f"examples, as no more fit into {self._prompts.room:,} tokens")  # fmt: skip

    def _shown(self, examples: Sequence[Example]) -> Iterator[tuple[Example, str]]:
        places, _ = self._known.nearest(list(map(text_of, examples)), self.options.examples)
        for example, nearest_first in zip(examples, places.tolist(), strict=True):
            texts = [self._texts[place] for place in nearest_first]
            shown = self._prompts.fitting(example, texts, empty=self.options.calibrate)
            self._counts.append(len(shown))
            yield example, "".join(shown[::-1])


@dataclass(frozen=True)
class Prompts:
    """A pattern as a model reads it, and the tokens of the labels' words behind it."""

    pattern: str
    words: Mapping[str, str]
    labels: list[list[int]]
    reader: Reader
    room: int  # tokens of a prompt at most

    @classmethod
    def of(cls, pattern: str, words: Mapping[str, str], reader: Reader) -> Prompts:
        """Raises a `RecipeError` where two labels read the same, a `ModelError` where the model takes too little.

        Where one label's words begin another's, the longer one would never be the likelier: all are then scored with
        the token that ends an answer in front of the next example.
        """
        asks, blank = _cut(pattern)
        told = [blank + word for word in words.values()]
        labels = _behind(fill(asks, {}), told, reader)
        for number, (label, tokens) in enumerate(zip(words, labels, strict=True)):
            if not tokens or tokens in labels[:number]:
                same = f"reads as '{list(words)[labels.index(tokens)]}'" if tokens else "reads as nothing"
                raise RecipeError(f"the label '{label}' {same}", where="words",
                                  fix="Give them different `words`.")  # fmt: skip
        if any(longer[: len(one)] == one for one, longer in pairwise(sorted(labels))):
            labels = _ended(labels, _behind(fill(asks, {}), [each + BETWEEN for each in told], reader), reader)
        room = min(reader.max_length, MOST_TOKENS) - max(map(len, labels))
        found = cls(pattern, words, labels, reader, room)
        if room < max(map(len, found.empty(""))):
            raise ModelError(f"it takes {reader.max_length} tokens, too few for the pattern and a text", where="model",
                             fix="Take a shorter pattern, or a model that reads more.")  # fmt: skip
        return found

    def shown(self, example: Example) -> str:
        """An example with its label, as it stands before the text that is asked about."""
        return fill(self.pattern, {**example, "label": self.words[label_names(example["label"])[0]]}) + BETWEEN

    def empty(self, before: str) -> list[list[int]]:
        """The prompts of texts without content behind `before`."""
        return prompt_ids([before + asks for asks in self._empty()], self.reader)

    def _empty(self) -> list[str]:
        asks, _ = _cut(self.pattern)
        return [fill(asks, dict.fromkeys(prompt_roles(asks), text)) for text in EMPTY]

    def fitting(self, example: Example, shown: Sequence[str], *, empty: bool) -> list[str]:
        """The first of the examples in front, the nearest first, that fit together with the whole text; with `empty`
        with each text without content, too.
        """  # fmt: skip
        kept, asked = list(shown), [fill(_cut(self.pattern)[0], example), *(self._empty() if empty else [])]
        while kept:
            before = "".join(kept[::-1])
            if max(map(len, prompt_ids([before + asks for asks in asked], self.reader))) <= self.room:
                break
            kept.pop()
        return kept

    def asked(self, example: Example, before: str) -> list[int]:
        """The prompt of an example; the end of a text that is too long is cut, of a pair that of the longer one.

        Behind examples it fits, see `fitting`; without them it does where nothing is left of the text, see `of`.
        """
        asks, _ = _cut(self.pattern)
        texts = {role: str(example[role]) for role in prompt_roles(asks) if example.get(role) is not None}
        while len(ids := prompt_ids([before + fill(asks, texts)], self.reader)[0]) > self.room:
            longer = max(texts, key=lambda role: len(texts[role]))
            texts[longer] = texts[longer][: min(len(texts[longer]) * self.room // len(ids), len(texts[longer]) - 1)]
        return ids


def _behind(stem: str, texts: Sequence[str], reader: Reader) -> list[list[int]]:
    """The tokens of texts as they are behind a stem; where these are not cut off, as they are alone."""
    before, *wholes = token_ids([stem, *(stem + text for text in texts)], reader.tokenizer, special=False)
    alone = token_ids(texts, reader.tokenizer, special=False)
    return [whole[len(before) :] if whole[: len(before)] == before else one
            for whole, one in zip(wholes, alone, strict=True)]  # fmt: skip


def _ended(labels: list[list[int]], between: list[list[int]], reader: Reader) -> list[list[int]]:
    """The labels with the first token of what stands `between` two examples, where that has none the end of text."""
    end = reader.tokenizer.eos_token_id
    last = [] if end is None else [int(end)]
    return [ended[: len(label) + 1] if len(ended) > len(label) else label + last
            for label, ended in zip(labels, between, strict=True)]  # fmt: skip


def _without_content(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logarithm of the mean of the labels' probabilities over prompts, shape (labels,)."""
    from scipy.special import logsumexp

    mean: NDArray[np.float64] = logsumexp(scores - logsumexp(scores, -1, keepdims=True), 0) - np.log(len(scores))
    return mean


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    likely: NDArray[np.float64] = np.exp(scores - scores.max())
    return likely / float(likely.sum())


def _cut(pattern: str) -> tuple[str, str]:
    """What is read before the label, and the blanks between: tokenizers put these in front of a word."""
    asks = pattern.removesuffix(LABEL)
    return asks.rstrip(" "), asks[len(asks.rstrip(" ")) :]


def as_words(label: str) -> str:
    """Return a label's name as words."""
    return label.replace("_", " ").replace("-", " ").strip() or label


def pattern_for(train: Labelled) -> str:
    """Return the pattern of what the texts are: pairs or not, Chinese or not."""
    texts = [text_of(example) for example in next(train.chunks(LOOKED_AT), [])]
    pair = bool(texts) and isinstance(texts[0], tuple)
    letters = [letter for text in texts for side in ([text] if isinstance(text, str) else text)
               for letter in side[:200] if letter.isalpha()]  # fmt: skip
    chinese = 2 * sum("\u4e00" <= letter <= "\u9fff" for letter in letters) > len(letters)
    return usual_pattern(pair=pair, chinese=chinese)


def usual_pattern(*, pair: bool = False, chinese: bool = False) -> str:
    """Return the pattern of texts, or of pairs of texts."""
    return "{text}\n" + ("{text_pair}\n" if pair else "") + ("标签：" if chinese else "Label: ") + LABEL
