"""Labelling in a terminal: the same acts as on the page, one example at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.prompt import Prompt

from weitiao.errors import DataError
from weitiao.labelling.acts import Answer, Kind
from weitiao.labelling.desk import Desk, Given
from weitiao.metrics.words import spoken, written

COMMANDS = {":u": "undo", ":s": "skip", ":?": "unsure", ":n": "note", ":h": "hide or show the guess", ":p": "progress",
            ":d": "rule on disagreements, or back", ":t": "train now", ":+": "a new label", ":q": "quit"}  # fmt: skip
SPAN = "start-end TYPE"
ASKED = {"label": "label", "labels": "labels, with commas between; - for none", "text": "text",
         "spans": f"spans: {SPAN}, with commas between; - for none"}  # fmt: skip
Ask = Callable[[str], str]
Example = Mapping[str, Any]


def sit(desk: Desk, annotator: str, *, ask: Ask | None = None, console: Console | None = None) -> None:
    """Label until there is nothing left, or the labeller quits. `ask` reads a line."""
    out = console or Console()
    _Sitting(desk, annotator, ask or (lambda prompt: Prompt.ask(prompt, console=out, default="", show_default=False)),
             out).carry_out()  # fmt: skip


@dataclass
class _Sitting:
    desk: Desk
    annotator: str
    ask: Ask
    out: Console
    shown: bool = True  # the model's guess
    disputed: bool = False  # whether answers rule on what labellers differ on

    def carry_out(self) -> None:
        self.out.print(escape("  ".join(f"{key} {name}" for key, name in COMMANDS.items())), style="dim")
        example = self._next()
        while example is not None:
            self._show(example)
            began, following = time.monotonic(), example
            while following is example:  # the line was about it, and it still has to be labelled
                try:
                    line = self.ask(ASKED[self.desk.project.kind.name]).strip()
                except (EOFError, KeyboardInterrupt):
                    return
                if line == ":q":
                    return
                try:
                    following = self._line(example, line, time.monotonic() - began)
                except DataError as error:
                    self.out.print(escape(str(error)), style="red")
            example = following
        self.out.print("Nothing is left to label.")

    def _line(self, example: Example, line: str, seconds: float) -> Any:
        """Do what a line says; return the example that is next, the same one where it is to be asked for again."""
        desk, given = self.desk, {"annotator": self.annotator, "row": example["row"], "seconds": seconds,
                                  "shown": self.shown}  # fmt: skip
        match line:
            case ":u":
                undone = desk.undo(self.annotator)
                self.out.print("There is nothing to take back." if undone is None else f"Taken back: {undone.act}")
                return example if undone is None else desk.example(undone.row, self.annotator)
            case ":n":
                desk.take(Given("note", **given, note=self.ask("note")))
            case ":+":
                desk.take(Given("new-label", self.annotator, answer=self.ask("name of the new label")))
            case ":d":
                self.disputed = not self.disputed
                return self._next()
            case ":t":
                desk.rounds.begin()
            case ":p":
                self._progress()
            case ":h":
                self.shown = not self.shown
                self._show(example)
            case ":s" | ":?" if self.disputed:
                return self._next(passed=example["row"])
            case ":s" | ":?":
                desk.take(Given("skip" if line == ":s" else "unsure", **given))
                return self._next()
            case _:
                act: Kind = "adjudicate" if self.disputed else "label"
                desk.take(Given(act, **given, answer=self._answer(example, line)))
                return self._next()
        return example

    def _next(self, passed: str = "") -> Example | None:
        if self.disputed:
            found = self.desk.next(self.annotator, disputed=True, passed=passed)
            if found is not None:
                return found
            self.disputed = False
            self.out.print("There is no disagreement to rule on.")
        return self.desk.next(self.annotator)

    def _answer(self, example: Example, line: str) -> Answer:
        """What a line means: a label by number, name or its unique beginning; nothing: the model's guess."""
        guess, kind = example["guess"], self.desk.project.kind.name
        if line.startswith(":") and len(line) == 2:
            raise DataError(f"unknown command '{line}'", where="here", fix=f"There is: {', '.join(COMMANDS)}.")
        if not line and self.shown and guess:
            return guess["answer"]
        if kind == "text":
            return line
        if kind == "label":
            return _label(self.desk, line)
        parts = [] if line == "-" else [part.strip() for part in line.split(",")]
        return [_label(self.desk, part) if kind == "labels" else _span(self.desk, part) for part in parts]

    def _show(self, example: Example) -> None:
        self.out.print()
        for cell in example["cells"]:
            name = f"[dim]{escape(cell['role'])}:[/dim] " if len(example["cells"]) > 1 else ""
            self.out.print(name + escape(cell["text"]), highlight=False)
        for name, answer in example["answers"].items() if self.disputed else ():
            self.out.print(escape(f"{name}: {answer}"), highlight=False)
        guess = example["guess"]
        if self.shown and guess:
            sure = "" if guess["confidence"] is None else f" {guess['confidence']:.0%}"
            self.out.print(f"[dim]the model:[/dim] {escape(str(guess['answer']))}{sure} [dim](Enter takes it)[/dim]")
        if self.desk.project.kind.labelled:
            numbered = (f"{number} {label}" for number, label in enumerate(self.desk.labels, 1))
            self.out.print(escape("  ".join(numbered)), style="cyan", highlight=False)

    def _progress(self) -> None:
        told = self.desk.progress(self.annotator)
        self.out.print(f"{told['settled']:,} of {told['rows']:,} labelled, {told['own']:,} by you")
        for point in told["points"]:
            score = written(told["score"], point["score"])
            self.out.print(f"round {point['round']}: {score} {spoken(told['score'])} by {point['rows']:,} rows")
        for sentence in (told["outlook"] or {}).get("sentences", ()):
            self.out.print(sentence)
        if (last := told["round"]) and last["problem"]:
            self.out.print(escape(last["problem"]), style="red")


def _label(desk: Desk, word: str) -> str:
    labels = desk.labels
    if word in labels:
        return word
    if word.isdigit() and 1 <= int(word) <= len(labels):
        return labels[int(word) - 1]
    found = [label for label in labels if label.casefold().startswith(word.casefold())] if word else []
    if len(found) == 1:
        return found[0]
    told = f"{len(found)} labels begin so: {', '.join(found[:5])}" if found else f"no label begins so: {word!r}"
    raise DataError(told, where="here", fix="Give its number, its name, or the beginning of it.")


def _span(desk: Desk, part: str) -> dict[str, Any]:
    place, _, type = part.partition(" ")
    start, dash, end = place.partition("-")
    if not (start.isdigit() and dash and end.isdigit()):
        raise DataError(f"found '{part}'", where="here", fix=f"Write {SPAN}: 0-4 PER")
    return {"start": int(start), "end": int(end), "type": _label(desk, type.strip())}
