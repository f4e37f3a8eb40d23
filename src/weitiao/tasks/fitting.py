"""Prompts that fit into a model: what stands in a source is cut at its end, the prompt around it stays whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weitiao.records import UNTRAINED, Reader
from weitiao.tasks.prompts import fill, prompt_roles
from weitiao.tasks.sequences import encode_pairs, prompt_ids

ROUNDS = 8  # of cutting; two or three do, and what is left then is cut token by token

Values = Mapping[str, str]  # role -> text


@dataclass(frozen=True)
class Template:
    """A prompt with roles in braces, and the tokens that a decoder keeps free for what it writes."""

    prompt: str
    reader: Reader
    room: int

    def encode(self, values: Sequence[Values], targets: Sequence[str] | None) -> dict[str, list[Any]]:
        """Return the features of `encode_pairs`; where a prompt is too long, the longest of its values is cut
        at its end.

        A decoder's prompt leaves `room` tokens, or as many as its target has where that is longer: so a prompt is the
        same in training as without its target. `full_length` counts what the uncut prompt and that room would take.
        """
        features = encode_pairs(self._texts(values), targets, self.reader, room=self.room)
        rooms = [self._room(labels) for labels in features.get("labels", [[]] * len(features["row"]))]
        long = [i for i, row in enumerate(features["row"]) if self._needed(features, i, rooms[i]) > self._most]
        if not long:
            return features
        rows = [features["row"][i] for i in long]
        cut = self._cut([values[row] for row in rows], [self._most - rooms[i] for i in long])
        chosen = None if targets is None else [targets[row] for row in rows]
        shorter = encode_pairs(self._texts(cut), chosen, self.reader, room=self.room)
        for new, i in enumerate(long):
            needed = self._needed(features, i, rooms[i])
            for name in ("input_ids", "labels", "length"):
                if name in features:
                    features[name][i] = shorter[name][new]
            features["full_length"][i] = needed
        return features

    @property
    def _most(self) -> int:
        return self.reader.max_length

    def _texts(self, values: Sequence[Values]) -> list[str]:
        return [fill(self.prompt, each) for each in values]

    def _room(self, labels: Sequence[int]) -> int:
        """Tokens that a prompt leaves free."""
        if self.reader.family == "seq2seq":
            return 0
        return max(self.room, sum(label != UNTRAINED for label in labels))

    def _needed(self, features: Mapping[str, list[Any]], i: int, room: int) -> int:
        """Tokens of the uncut prompt and its room; of an encoder-decoder the longer of source and target."""
        full = int(features["full_length"][i])
        if self.reader.family == "seq2seq":
            return full
        answer = sum(label != UNTRAINED for label in features["labels"][i]) if "labels" in features else 0
        return full - answer + room

    def _cut(self, values: Sequence[Values], most: Sequence[int]) -> list[dict[str, str]]:
        """Cut the longest value of each at its end until the prompt has at most so many tokens."""
        cut, roles = [dict(each) for each in values], prompt_roles(self.prompt)
        longest = [max((role for role in roles if role in each), key=lambda role: len(each[role])) for each in cut]
        empty = self._lengths([{**each, role: ""} for each, role in zip(cut, longest, strict=True)])
        left = list(range(len(cut)))
        for _ in range(ROUNDS):
            lengths = self._lengths([cut[i] for i in left])
            over = {i: n - most[i] for i, n in zip(left, lengths, strict=True) if n > most[i]}
            for i, n in zip(left, lengths, strict=True):
                if i in over:
                    text = cut[i][longest[i]]
                    away = math.ceil(over[i] * len(text) / max(1, n - empty[i]))
                    cut[i][longest[i]] = text[: max(0, len(text) - away)].rstrip()
            left = [i for i in over if cut[i][longest[i]]]
            if not left:
                break
        return cut

    def _lengths(self, values: Sequence[Values]) -> list[int]:
        return [len(ids) for ids in prompt_ids(self._texts(values), self.reader)]
