"""Asking in words for the label of a text, and reading out of a reply which label it names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

from weitiao.errors import RecipeError
from weitiao.metrics.tokens import language_of
from weitiao.records import Example
from weitiao.tasks.prompts import check_prompt, fill, prompt_roles
from weitiao.tasks.segmenting import UNSPACED

LABELS = "labels"  # the role that stands for the labels' names in a prompt, a line each
NONE, SEVERAL, CUT = "naming no label", "naming several labels", "cut at the most that is written"

# The text stands first: of a question that is too long for a model the beginning is cut.
ONE: Mapping[bool, str] = {
    False: """\
Text: {text}

Which one of these labels fits the text above?
{labels}
Reply with that label alone, spelled as it is here.""",
    True: """\
文本：{text}

上面的文本应该标以下哪一个标签？
{labels}
只回复这个标签，写法与上面一致。""",
}
PAIR: Mapping[bool, str] = {
    False: """\
First text: {text}
Second text: {text_pair}

Which one of these labels fits the two texts above?
{labels}
Reply with that label alone, spelled as it is here.""",
    True: """\
文本一：{text}
文本二：{text_pair}

上面的两个文本应该标以下哪一个标签？
{labels}
只回复这个标签，写法与上面一致。""",
}

_MARKS = " \t\"'`*“”‘’「」『』《》〈〉【】（）()[]{}<>.,;:!。，、；：！=→"  # around a label
_BULLET = re.compile(r"[-–—•·]\s+")
_LEAD = re.compile(  # what may stand before a label without changing what is said: nothing that says no
    r"(?:the|this|these|that|it|its|my|i|we|you|would|should|will|is|are|be|as|a|an|of|for|to|in|under|with|best|most|"
    r"likely|correct|right|appropriate|suitable|fitting|final|one|single|above|given|text|texts|pair|sentence|review|"
    r"label|labels|labelled|labeled|category|class|classification|classified|classify|sentiment|intent|topic|answer|"
    r"output|result|response|fits|deserves|belongs|choose|say|s)(?![^\W_])"
    r"|最合适|最适合|最符合|正确|合适|应该|应当|应为|应是|应标|应|属于|标签|标注|标为|标|类别|分类|答案|结果|回答|情感|意图|主题"
    r"|文本|句子|评论|这段|这条|这个|这|该|此|上面|一个|的|为|是",
    re.IGNORECASE,
)
_LETTER = rf"[\p{{L}}\p{{N}}\p{{M}}--[{UNSPACED}]]"  # of a word that blanks are around


def label_prompt(example: Example, labels: Sequence[str], prompt: str | None = None) -> str:
    """Return what a chat model is asked for the label of an example; `prompt`: a template in place of the usual one,
    which is Chinese for Chinese texts, else English.
    """  # fmt: skip
    if prompt is None:
        texts = [str(example[role]) for role in ("text", "text_pair") if role in example]
        prompt = (PAIR if len(texts) > 1 else ONE)[language_of(texts) == "zh"]
    return fill(prompt, {**example, LABELS: "\n".join(f"- {label}" for label in labels)})


def check_label_prompt(prompt: str, read: Sequence[str], *, where: str) -> None:
    """Raise a `RecipeError` unless a template has one of the roles that are `read`, and no other name but `labels`."""
    check_prompt(prompt, [*read, LABELS], where=where)
    if not set(prompt_roles(prompt, where=where)) & set(read):
        raise RecipeError("the prompt has no text in it: the same would be asked of every example", where=where,
                          fix="Write one in braces: " + ", ".join(f"{{{role}}}" for role in read) + ".")  # fmt: skip


def label_named(reply: str, labels: Sequence[str], *, cut: bool = False) -> tuple[str, str]:
    """Return (the one label that a reply names, ""), or ("", why there is none).

    Case, quotes, bullets, full stops and blanks for ``_`` and ``-`` do not count, nor does what introduces a label:
    ``Label: x``, ``The label is x``. It must then stand alone, in the reply or in a line of it, and no other label may
    be named anywhere: ``not x`` and ``x or y`` are none. Of a reply that was `cut` the last line is not read.
    """
    names = _names(tuple(labels))
    lines = [line for line in unicodedata.normalize("NFKC", reply).splitlines() if line.strip()]
    whole = " ".join(lines)
    if not cut and (exact := names.of(whole)):
        return exact, ""
    alone = {label for line in (lines[:-1] if cut else lines) if (label := names.alone(line))}
    named = alone | names.mentioned(whole)
    if len(alone) == 1 and len(named) == 1:
        return alone.pop(), ""
    if cut:
        return "", CUT
    return "", SEVERAL if len(named) > 1 else NONE


class _Names:
    """Labels by how they are spelled: as they are, else loosely. Two that are spelled alike are neither."""

    def __init__(self, labels: Sequence[str]) -> None:
        import regex

        self._labels = labels
        self._ways = [(spelled, _only(labels, spelled)) for spelled in (_plain, _bare, _loose)]
        longest_first = sorted({_loose(label) for label in labels}, key=len, reverse=True)
        self._anywhere = regex.compile(f"(?V1){'|'.join(map(_as_word, longest_first))}")

    def of(self, text: str) -> str | None:
        """The label that a text is."""
        return next((known[way] for spelled, known in self._ways if (way := spelled(text)) in known), None)

    def alone(self, line: str) -> str | None:
        """The label that a line is behind what introduces it."""
        return next(filter(None, map(self.of, _behind_leads(line))), None)

    def mentioned(self, text: str) -> set[str]:
        """All labels that stand in a text as words, of one within another the longer."""
        spelled = set(self._anywhere.findall(_loose(text)))
        return {label for label in self._labels if _loose(label) in spelled}


_names = lru_cache(8)(_Names)


def _only(labels: Sequence[str], spelled: Callable[[str], str]) -> dict[str, str]:
    """Spelling -> label, where that is of one alone."""
    ways = [spelled(label) for label in labels]
    return {way: label for way, label in zip(ways, labels, strict=True) if ways.count(way) == 1}


def _behind_leads(line: str) -> Iterator[str]:
    """A line, then what is left of it behind each of the signs and words that may introduce a label."""
    rest = line
    while rest:
        yield rest
        bare = rest.lstrip(_MARKS + "#")
        found = _BULLET.match(bare) or _LEAD.match(bare)
        if found is None:
            yield bare
            return
        rest = bare[found.end() :]


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _bare(text: str) -> str:
    """Without marks around it, unless there is nothing else."""
    plain = _plain(text)
    return plain.strip(_MARKS) or plain


def _loose(text: str) -> str:
    """The same in small letters, with blanks for ``_`` and ``-`` between letters: a minus stays."""
    return " ".join(re.sub(r"(?<=[^\W_])[_-]+(?=[^\W_])", " ", _bare(text)).casefold().split())


def _as_word(label: str) -> str:
    """A pattern of a label that stands as a word; where words are written without blanks, anywhere."""
    import regex

    first, last = (regex.match(f"(?V1){_LETTER}", label[at]) for at in (0, -1))
    name: str = regex.escape(label)
    return (f"(?<!{_LETTER})" if first else "") + name + (f"(?!{_LETTER})" if last else "")
