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
from weitiao.labelling.desk import FOUND, Desk, Given
from weitiao.metrics.words import spoken, written

COMMANDS = {":u": "undo", ":s": "skip", ":?": "unsure", ":n": "note", ":f": "find examples by their words",
            ":h": "hide or show the guess", ":p": "progress", ":d": "rule on disagreements, or back",
            ":t": "train now", ":+": "a new label", ":q": "quit"}  # fmt: skip
FIND = ":f "  # and words, in one line
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
        try:
            self._label_all()
        except (EOFError, KeyboardInterrupt):  # what was given is kept
            return

    def _label_all(self) -> None:
        self.out.print(escape("  ".join(f"{key} {name}" for key, name in COMMANDS.items())), style="dim")
        example = self._next()
        while example is not None:
            self._show(example)
            began, following = time.monotonic(), example
            while following is example:  # the line was about it, and it still has to be labelled
                line = self.ask(ASKED[self.desk.project.kind.name]).strip()
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
                self._show_labels()
            case ":f":
                return self._find(example, self.ask("words to find"))
            case _ if line.startswith(FIND):
                return self._find(example, line.removeprefix(FIND))
            case ":d":
                self.disputed = not self.disputed
                return self._next()
            case ":t":
                self._train()
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

    def _find(self, example: Example, words: str) -> Example:
        """Show what holds `words`; return the one of these that is chosen, else the example that was there."""
        found = self.desk.find(words, self.annotator)
        for number, row in enumerate(found, 1):
            said = f"{_said(row['done'])}: " if row["done"] else ""
            line = f"{number:>2}  {row['place']}  {said}{' '.join(row['text'].split())}"
            self.out.print(escape(line), highlight=False, no_wrap=True, overflow="ellipsis")
        if not found:
            self.out.print(escape(f"No example holds {words!r}."), style="red", highlight=False)
            return example
        if len(found) == FOUND:
            self.out.print(f"These are the first {FOUND}: more words find fewer.", style="dim")
        while chosen := self.ask("number of the one to label; Enter goes back").strip():
            if chosen.isdecimal() and 1 <= int(chosen) <= len(found):
                self.disputed = False
                return self.desk.example(found[int(chosen) - 1]["row"], self.annotator)
            self.out.print(f"Give a number from 1 to {len(found)}.", style="red", highlight=False)
        self._show(example)
        return example

    def _train(self) -> None:
        rounds = self.desk.rounds
        if not rounds.trains:
            self.out.print("No model is trained here: leave --no-train out.", style="red")
        elif rounds.busy:
            self.out.print("A round is under way already.")
        else:
            rounds.begin()
            self.out.print("A round begins: go on labelling. :p tells how it went.")

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
            self.out.print(escape(f"{name}: {_written(answer)}"), highlight=False)
        if example["done"] and not self.disputed:
            self.out.print(f"[dim]you said:[/dim] {escape(_said(example['done']))}", highlight=False)
        if example["note"]:
            self.out.print(f"[dim]your note:[/dim] {escape(example['note'])}", highlight=False)
        guess = example["guess"]
        if self.shown and guess:
            sure = "" if guess["confidence"] is None else f" {guess['confidence']:.0%}"
            answer = escape(_written(guess["answer"]))
            self.out.print(f"[dim]the model:[/dim] {answer}{sure} [dim](Enter takes it)[/dim]", highlight=False)
        elif guess:
            self.out.print("the model's guess is hidden", style="dim")
        self._show_labels()

    def _show_labels(self) -> None:
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
        last = told["round"]
        if told["busy"]:
            self.out.print("A round is under way.")
        elif told["until"]:
            self.out.print(f"The next training begins after {told['until']} more.")
        for problem in (told["refused"], last and last["problem"]):
            if problem:
                self.out.print(escape(problem), style="red", highlight=False)


def _said(done: Mapping[str, Any]) -> str:
    """What somebody did with an example."""
    return _written(done["answer"]) if done["act"] == "label" else str(done["act"])


def _written(answer: Answer) -> str:
    """An answer as it is asked for."""
    if not isinstance(answer, list):
        return str(answer)
    each = (part if isinstance(part, str) else f"{part['start']}-{part['end']} {part['type']}" for part in answer)
    return ", ".join(each) or "-"


def _label(desk: Desk, word: str) -> str:
    labels = desk.labels
    if word in labels:
        return word
    if word.isdecimal() and 1 <= int(word) <= len(labels):
        return labels[int(word) - 1]
    found = [label for label in labels if label.casefold().startswith(word.casefold())] if word else []
    if len(found) == 1:
        return found[0]
    told = f"{len(found)} labels begin so: {', '.join(found[:5])}" if found else f"no label begins so: {word!r}"
    raise DataError(told, where="here", fix="Give its number, its name, or the beginning of it.")


def _span(desk: Desk, part: str) -> dict[str, Any]:
    place, _, type = part.partition(" ")
    start, dash, end = place.partition("-")
    if not (start.isdecimal() and dash and end.isdecimal()):
        raise DataError(f"found '{part}'", where="here", fix=f"Write {SPAN}: 0-4 PER")
    return {"start": int(start), "end": int(end), "type": _label(desk, type.strip())}
