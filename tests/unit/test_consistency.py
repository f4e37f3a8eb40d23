"""Consistency training: the losses by their formulas, which rows come when, copies, runs, and what is refused."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.samples import reviews
from tests.watching import Stopper, Watcher, of
from weitiao import Recipe, check, compare, data, learning_curve, models, probe, registry, resume, search, train
from weitiao.batching import micro_batches as micro_batches_of
from weitiao.cli.main import main
from weitiao.consistency import with_unlabelled
from weitiao.data import micro_batches
from weitiao.errors import Interrupted, RecipeError, WeitiaoError
from weitiao.events import Evaluated, StepDone, UnlabelledSeen
from weitiao.forecast import budgets, within_memory
from weitiao.forecast.ahead import alike
from weitiao.forecast.steps import _Stepping, peak_of
from weitiao.labelling.project import open_project
from weitiao.labelling.rounds import round_recipe
from weitiao.loading import load_for_training
from weitiao.parallel import SINGLE, Counts
from weitiao.preparation import prepare
from weitiao.records import Batch
from weitiao.row_files import reading, rows_of, write_rows, write_unlabelled
from weitiao.training.consistency import (
    ANNEALING,
    Annealing,
    BesideUnchanged,
    Consistent,
    HeldBack,
    LatestAnswers,
    PseudoLabelled,
    Sharpened,
    sure,
)
from weitiao.training.loop import train_steps
from weitiao.training.micro_batches import MicroBatches, Rows
from weitiao.training.with_unlabelled import WithUnlabelled
from weitiao.trials import Trial
from weitiao.workshop import copies
from weitiao.workshop.augment import DropWords, SwapWords, Typos
from weitiao.workshop.copies import Copier

# --- formulas


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plain(batch: torch.Tensor) -> list[list[float]]:
    """Probabilities, number by number."""
    rows = [[math.exp(value) for value in row] for row in batch.tolist()]
    return [[value / sum(row) for value in row] for row in rows]


def test_uda_is_the_divergence_of_copies_from_sharpened_answers() -> None:
    own, copied = logits(5, 3), logits(5, 3, seed=1)
    wanted = [
        sum(p * (math.log(p) - math.log(q)) for p, q in zip(one, other, strict=True))
        for one, other in zip(plain(own / 0.4), plain(copied), strict=True)
    ]
    assert Sharpened(0.4)(own, copied).tolist() == pytest.approx(wanted, rel=1e-4)
    assert Sharpened(1.0)(own, own).tolist() == pytest.approx([0.0] * 5, abs=1e-6)


def test_fixmatch_is_the_cross_entropy_with_the_likeliest_label() -> None:
    own, copied = logits(5, 3), logits(5, 3, seed=1)
    wanted = [-math.log(other[max(range(3), key=one.__getitem__)])
              for one, other in zip(plain(own), plain(copied), strict=True)]  # fmt: skip
    assert PseudoLabelled()(own, copied).tolist() == pytest.approx(wanted, rel=1e-4)


def test_sure_is_by_the_probability_before_it_is_sharpened() -> None:
    own = torch.tensor([[0.9, 0.1], [0.79, 0.21], [0.2, 0.8]]).log()
    assert sure(own, 0.8).tolist() == [True, False, True]
    assert sure(own, 0.0).all()


@pytest.mark.parametrize("difference", [Sharpened(0.4), PseudoLabelled()])
def test_only_copies_of_texts_that_it_is_sure_of_are_learned(difference: Any) -> None:
    own, copied = logits(40, 3), logits(40, 3, seed=1).requires_grad_()
    answers = LatestAnswers(100, 64)
    loss = Consistent(lambda *_: pytest.fail("none has a label"), difference, 2.0, 0.8, answers)
    batch = Batch({}, None, 40.0, 0, list(range(40)), unchanged=Batch({}, None, 40.0, 0, list(range(40))))
    found = loss((SimpleNamespace(logits=copied), own), batch)
    learned = [row for row, each in enumerate(plain(own)) if max(each) >= 0.8]
    assert 5 < len(learned) < 35
    each = difference(own, copied)
    assert found.item() == pytest.approx(2 * sum(each[row].item() for row in learned), rel=1e-5)
    found.backward()
    assert copied.grad is not None
    assert copied.grad.abs().sum(-1).nonzero().flatten().tolist() == learned
    answers.penalty(torch.nn.Identity())
    answers.after_step(torch.nn.Identity(), 1, 9)
    assert answers.told(1).sure == pytest.approx(len(learned) / 40)
    labelled = Batch({}, torch.tensor([0]), 1.0, 1, [0])
    taken = Consistent(lambda outputs, batch: outputs * batch.targets, difference, 2.0, 0.8, answers)
    assert taken(7.0, labelled) == 7.0  # as ever


@pytest.mark.parametrize(("kind", "wanted"), [
    ("linear", {0.0: 0.0, 0.5: 0.5, 1.0: 1.0}),
    ("log", {0.0: 0.0, 0.5: 1 - math.exp(-2.5), 1.0: 1 - math.exp(-5)}),
    ("exp", {0.0: math.exp(-5), 0.5: math.exp(-2.5), 1.0: 1.0}),
])  # fmt: skip
def test_the_bound_of_annealing_rises_as_in_uda(kind: str, wanted: dict[float, float]) -> None:
    annealing = Annealing(ANNEALING[kind], 4)
    for share, alpha in wanted.items():
        annealing.after_step(torch.nn.Identity(), round(20 * share), 20)
        assert annealing.bound == pytest.approx(alpha * (1 - 1 / 4) + 1 / 4)
    kept = annealing.state(torch.nn.Identity())
    other = Annealing(ANNEALING[kind], 4)
    other.restore(torch.nn.Identity(), kept)
    assert other.bound == annealing.bound
    other.restore(torch.nn.Identity(), {})
    assert other.bound == pytest.approx(wanted[0.0] * 3 / 4 + 1 / 4)


def test_labelled_examples_over_the_bound_are_held_back() -> None:
    annealing = Annealing(ANNEALING["linear"], 2)
    annealing.after_step(torch.nn.Identity(), 4, 10)  # 0.4 (1 - 1/2) + 1/2 = 0.7
    probabilities = torch.tensor([[0.65, 0.35], [0.75, 0.25], [0.75, 0.25]])
    outputs = SimpleNamespace(logits=probabilities.log().requires_grad_())
    batch = Batch({}, torch.tensor([0, 0, 1]), 3.0, 3, [0, 1, 2])

    def losses(outputs: Any, batch: Batch) -> torch.Tensor:
        return functional.cross_entropy(outputs.logits, batch.labels, reduction="none")

    found = HeldBack(losses, annealing)(outputs, batch)
    assert found.item() == pytest.approx(-math.log(0.65) - math.log(0.25), rel=1e-5)


class Twice(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> Any:
        return SimpleNamespace(logits=self.line(x))


@pytest.mark.parametrize("bf16", [False, True])
def test_gradients_come_from_the_copies_alone(bf16: bool) -> None:
    """Also under autocast, which keeps weights in bf16 from one pass to the next."""
    torch.manual_seed(0)
    model, own, copied = Twice(), torch.randn(6, 4), torch.randn(6, 4)
    run = BesideUnchanged(lambda model, batch: model(**batch.inputs))
    batch = Batch({"x": copied}, None, 6.0, 6, list(range(6)), unchanged=Batch({"x": own}, None, 6.0, 6, []))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        outputs, answers = run(model, batch)
        loss = Sharpened(0.4)(answers.float(), outputs.logits.float()).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert not answers.requires_grad
    assert model.line.weight.grad is not None
    found = model.line.weight.grad.clone()
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        wanted = model(own).logits.detach()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        again = Sharpened(0.4)(wanted.float(), model(copied).logits.float()).sum()
    again.backward()  # type: ignore[no-untyped-call]
    assert float(found.norm()) > 0
    torch.testing.assert_close(found, model.line.weight.grad)


# --- which rows come when


def ordered(texts: int = 23, variants: int = 3, ratio: int = 2, seed: int = 5, batch: int = 4) -> WithUnlabelled:
    sizes = [batch, batch, batch, 2]
    steps = [np.arange(sum(sizes))[start : start + size]
             for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False)]  # fmt: skip
    lengths = np.random.default_rng(0).integers(3, 40, texts)
    return WithUnlabelled(lambda _: steps, 14, batch, lengths, variants, ratio, first=14, seed=seed)


def test_each_step_takes_so_many_texts_for_each_labelled_row() -> None:
    order = ordered()
    for rows in order(3):
        labelled = rows[rows < 14]
        assert len(rows) == 3 * len(labelled)
        assert np.array_equal(rows[: len(labelled)], labelled)  # which stand in front, as they were


def test_all_texts_come_before_one_comes_again_and_then_as_another_copy() -> None:
    order = ordered()
    drawn = np.concatenate([rows[rows >= 14] - 14 for epoch in range(23) for rows in order(epoch)])
    assert len(drawn) == 23 * 28
    texts, variants = drawn // 3, drawn % 3
    for start in range(0, len(drawn), 23):
        assert sorted(texts[start : start + 23].tolist()) == list(range(23))
    for text in range(23):
        seen = variants[texts == text].tolist()
        assert all((before + 1) % 3 == after for before, after in pairwise(seen))
    assert not np.array_equal(texts[:23], texts[23:46])


def test_what_comes_hangs_on_seed_and_epoch_alone() -> None:
    one, other = ordered(), ordered()
    other(7)
    for epoch in (0, 4):
        for mine, theirs in zip(one(epoch), other(epoch), strict=True):
            assert np.array_equal(mine, theirs)
    assert not np.array_equal(np.concatenate(one(1)), np.concatenate(ordered(seed=6)(1)))


def test_short_epochs_take_from_a_pass_that_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [np.concatenate(ordered(texts=90)(epoch)) for epoch in range(40)]
    order, real = ordered(texts=90), data.length_bucketed
    drawn: list[int] = []

    def noted(*args: Any, epoch: int, **more: Any) -> Any:
        drawn.append(epoch)
        return real(*args, epoch=epoch, **more)

    monkeypatch.setattr(data, "length_bucketed", noted)
    assert all(np.array_equal(np.concatenate(order(epoch)), wanted[epoch]) for epoch in range(40))
    assert drawn == list(range(13))  # 40 x 28 texts
    for epoch in (0, 40, 3):  # an epoch before, or far behind, is as it was
        assert np.array_equal(np.concatenate(order(epoch)), np.concatenate(ordered(texts=90)(epoch)))


def test_a_step_that_takes_more_texts_than_there_are_takes_other_copies() -> None:
    for rows in ordered(texts=3)(0)[:3]:
        drawn = rows[rows >= 14] - 14
        assert len(drawn) == 8
        assert len(set(drawn.tolist())) == 8  # 9 copies there are
        assert Counter((drawn // 3).tolist()).most_common()[0][1] == 3


def test_texts_of_like_length_come_near_each_other() -> None:
    lengths = np.random.default_rng(1).integers(3, 300, 4000)
    order = WithUnlabelled(lambda _: [np.arange(8)] * 100, 800, 8, lengths, 1, 4, first=800, seed=0)
    spread = [float(np.ptp(lengths[rows[8:] - 800])) for rows in order(1)]
    assert np.median(spread) < 40


def test_rows_of_a_kind_are_cut_by_themselves() -> None:
    lengths = [np.array([3, 9, 4, 4, 12]), np.array([5, 6, 7])]
    taken: list[tuple[int, list[int]]] = []

    def kind(number: int) -> Rows:
        return Rows(lengths[number], lambda rows: taken.append((number, rows.tolist())))  # type: ignore[arg-type, return-value, func-returns-value]

    batches, rows = MicroBatches([kind(0), kind(1)], 14), np.array([4, 6, 0, 2, 7, 5])
    cut = batches.cut(rows)
    assert [part.tolist() for part in cut] == [[4], [2, 0], [7, 6], [5]]
    batches(rows)
    assert taken == [(0, [4]), (0, [2, 0]), (1, [2, 1]), (1, [0])]
    assert batches.lengths.tolist() == [3, 9, 4, 4, 12, 5, 6, 7]
    assert [own.tolist() for own in batches.longest()] == [[4, 1, 2, 3, 0], [7, 6, 5]]
    alone = MicroBatches([kind(0)], 14)
    assert [part.tolist() for part in alone.cut(np.arange(5))] == [
        part.tolist() for part in micro_batches(np.arange(5), lengths[0], 14)
    ]


def test_each_kind_has_a_mean_of_its_own() -> None:
    labelled = Batch({}, torch.zeros(3), 2.5, 10, [0, 1, 2])
    copied = Batch({}, None, 6.0, 40, list(range(6)), unchanged=labelled)
    counts = SINGLE.counted([labelled, copied, copied])
    assert counts == Counts(2.5, 90, 3, 12.0)
    assert [divisor for _, divisor in SINGLE.passes([labelled, copied], counts, list)] == [2.5, 12.0]
    assert SINGLE.counted([labelled]).unlabelled == 0
    assert SINGLE.counted([]).divisor(copied) == 1.0


# --- what the model answered


def answered(part: LatestAnswers, rows: list[int], labels: list[int], learned: list[bool]) -> None:
    part.note(rows, torch.tensor(labels), torch.tensor(learned))


def done(part: LatestAnswers) -> None:
    part.penalty(torch.nn.Identity())
    part.after_step(torch.nn.Identity(), 1, 9)


def test_it_is_told_how_many_were_sure_and_how_many_changed() -> None:
    part = LatestAnswers(6, 8)
    answered(part, [0, 1], [1, 1], [True, False])
    answered(part, [2], [0], [True])
    done(part)
    told = part.told(4)
    assert (told.step, told.rows, told.sure, told.again, told.changed) == (4, 3, pytest.approx(2 / 3), 0, 0.0)
    answered(part, [0, 1, 3], [0, 1, 1], [False, False, False])
    done(part)
    kept = part.state(torch.nn.Identity())
    other = LatestAnswers(6, 8)
    other.restore(torch.nn.Identity(), kept)
    for each in (part, other):
        told = each.told(5)
        assert (told.rows, told.sure, told.again, told.changed) == (3, 0.0, 2, 0.5)
        assert each.told(6).rows == 0
    part.restore(torch.nn.Identity(), {})
    assert (part.labels == -1).all()


def test_a_step_that_was_skipped_or_tried_out_counts_nothing() -> None:
    part = LatestAnswers(6, 8)
    answered(part, [0], [1], [True])
    part.penalty(torch.nn.Identity())  # then it was skipped
    answered(part, [1], [1], [True])
    done(part)
    assert part.told(1).rows == 1
    answered(part, [2], [1], [True])
    part.begin()
    answered(part, [3], [1], [True])
    done(part)
    assert part.told(1).rows == 1
    assert part.labels.tolist() == [-1, 1, -1, 1, -1, -1]


# --- copies

TEXT = "the room was clean and the staff kind, we came back in the winter"


def copier(*operators: Any, variants: int = 3, together: int = 1, roles: Iterable[str] = ("text",)) -> Copier:
    return Copier(list(operators), list(roles), variants=variants, together=together, seed=0)


def dropping(rate: float = 0.2) -> DropWords:
    return DropWords(DropWords.Options(rate=rate, chinese="characters"))


def test_copies_differ_and_hang_on_their_row_alone() -> None:
    found = copier(dropping(), Typos(Typos.Options())).copies({"text": TEXT}, 4)
    assert len(found) == 3
    assert len({each["text"] for each in found}) == 3
    assert TEXT not in [each["text"] for each in found]
    again = copier(dropping(), Typos(Typos.Options()))
    again.copies({"text": "another text that came before"}, 0)
    assert again.copies({"text": TEXT}, 4) == found
    assert again.copies({"text": TEXT}, 5) != found


def test_operators_begin_by_turns_and_follow_each_other() -> None:
    words = set(TEXT.replace(",", "").split())
    swap = SwapWords(SwapWords.Options(rate=0.2, chinese="characters"))
    alone = [each["text"] for each in copier(dropping(), swap, variants=4).copies({"text": TEXT}, 0)]
    fewer = [len(text.split()) < len(TEXT.split()) for text in alone]
    assert fewer == [True, False, True, False]
    both = [each["text"] for each in copier(dropping(), swap, variants=4, together=2).copies({"text": TEXT}, 0)]
    assert all(len(text.split()) < len(TEXT.split()) for text in both)
    assert all(set(text.replace(",", "").split()) <= words for text in both)


def test_all_texts_of_a_row_are_changed_and_none_without_words() -> None:
    roles = ("text", "text_pair")
    [found, *_] = copier(dropping(), roles=roles).copies({"text": TEXT, "text_pair": TEXT[:30], "label": "x"}, 0)
    assert found.keys() == set(roles)
    assert found["text"] != TEXT
    assert found["text_pair"] != TEXT[:30]
    assert copier(dropping()).copies({"text": "one"}, 0) == []
    few = copier(dropping(), variants=5).copies({"text": "two words"}, 0)
    assert {each["text"] for each in few} == {"two", "words"}
    assert len(few) == 5  # the same again


# --- runs


def write(path: Path, texts: Iterable[str], column: str = "review") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([(column,), *((text,) for text in texts)])
    return path


def pool(count: int = 90) -> list[str]:
    return [
        f"{text.partition(', visit')[0]} at last {number}" for number, (text, _) in enumerate(reviews(count, seed=3))
    ]


OPERATORS = [{"name": "drop-words", "rate": 0.3, "chinese": "characters"},
             {"name": "swap-words", "chinese": "characters"}]  # fmt: skip


NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0}


@pytest.fixture
def values(recipe_values: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def build(*, texts: Iterable[str] | None = None, training: dict[str, Any] | None = None, output: str = "run",
              **consistency: Any) -> dict[str, Any]:  # fmt: skip
        found = recipe_values(output=str(tmp_path / output), evaluation={"bootstrap": 0, "baselines": False})
        found["training"] |= {"batch_size": 8, "epochs": 2, **(training or {})}
        write(tmp_path / "pool.csv", pool() if texts is None else texts)
        wanted = {"unlabelled": str(tmp_path / "pool.csv"), "operators": OPERATORS, "threshold": 0.4, "variants": 2}
        return {**found, "consistency": wanted | consistency}

    return build


@pytest.mark.parametrize("kind", ["uda", "fixmatch"])
def test_a_run_learns_from_texts_without_labels_and_tells_of_it(
    values: Callable[..., dict[str, Any]], tmp_path: Path, kind: str
) -> None:
    watcher = Watcher()
    run = train(Recipe(**values(kind=kind)), trackers=[watcher])
    assert run.score is not None
    steps, seen = of(StepDone, watcher.seen), of(UnlabelledSeen, watcher.seen)
    assert {step.examples for step in steps} == {8 + 3 * 8}
    assert [each.step for each in seen] == [len(steps) // 2, len(steps)]
    assert seen[0].rows == 3 * 96
    assert seen[0].sure == 1.0  # of two labels one has 0.5
    assert seen[1].again > 0
    told = json.loads((run.folder / "report.json").read_text())
    assert [each["step"] for each in told["curves"]["unlabelled"]] == [each.step for each in seen]
    assert "Texts without labels" in (run.folder / "report.html").read_text()
    assert told["splits"][0]["examples"] == 96
    assert run.recipe.consistency is not None
    alone = values(kind=kind, output="alone")
    del alone["consistency"]
    other = train(Recipe(**alone))
    assert (run.artifact / "model.safetensors").read_bytes() != (other.artifact / "model.safetensors").read_bytes()


def test_the_threshold_is_settled_and_told(values: Callable[..., dict[str, Any]]) -> None:
    for kind, usual in (("uda", 0.8), ("fixmatch", 0.95)):
        ready = with_unlabelled(prepare(Recipe(**values(kind=kind, threshold="auto"))))
        assert ready.recipe.consistency is not None
        assert ready.recipe.consistency.threshold == usual
        assert ready.recipe.origin("consistency.threshold").startswith("auto: ")


def test_texts_that_stand_in_the_data_are_left_out_of_a_test_split_held_back_too(
    values: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    wanted = values()
    own = [row[0] for row in csv.reader((tmp_path / "reviews.csv").open())][1:]
    write(tmp_path / "pool.csv", [*own, *pool(40), *pool(40), ""])
    for test in (True, False):
        ready = with_unlabelled(prepare(Recipe(**wanted | {"evaluation": {"test": test}})))
        assert ready.unlabelled is not None
        assert len(ready.unlabelled.texts) == 40
        assert len(ready.unlabelled.copies) == 80
        [note] = [each.problem for each in ready.findings if "rows of pool.csv are used" in each.problem]
        assert "120 in the data already" in note
        assert "40 repeated" in note


def test_copies_are_made_once_and_go_on_where_they_were_stopped(
    values: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("weitiao.data.unlabelled.SOME", 20)
    ready = prepare(Recipe(**values()))
    made: list[int] = []
    real = Copier.copies

    def copied(self: Copier, row: Any, number: int) -> Any:
        if number == 45 and len(made) == 45:
            raise KeyboardInterrupt
        made.append(number)
        return real(self, row, number)

    monkeypatch.setattr(Copier, "copies", copied)
    with pytest.raises(KeyboardInterrupt):
        with_unlabelled(ready)
    made.append(-1)
    first = with_unlabelled(ready)
    assert made[46:] == list(range(40, 90))
    monkeypatch.setattr(Copier, "copies", lambda *_: pytest.fail("they were made again"))
    again = with_unlabelled(ready, settled=True, silent=True)
    assert again.digest == first.digest != ready.digest
    assert first.unlabelled is not None
    assert again.unlabelled is not None
    assert again.unlabelled.copies["input_ids"] == first.unlabelled.copies["input_ids"]


def test_a_text_that_nothing_can_be_changed_in_is_left_out(values: Callable[..., dict[str, Any]]) -> None:
    ready = with_unlabelled(prepare(Recipe(**values(texts=[*pool(30), "room", "bed"]))))
    assert ready.unlabelled is not None
    assert len(ready.unlabelled.texts) == 30
    assert any("2 of 32 texts are left out" in each.problem for each in ready.findings)
    texts, copied = ready.unlabelled.texts, ready.unlabelled.copies
    assert [each // 2 for each in range(60)] == [each for each in range(30) for _ in range(2)]
    for number in range(60):  # a copy is of its text
        assert set(copied[number]["input_ids"]) <= set(texts[number // 2]["input_ids"])


@pytest.mark.parametrize("kind", ["uda", "fixmatch"])
def test_a_step_is_the_same_however_it_is_cut(values: Callable[..., dict[str, Any]], kind: str) -> None:
    seen, pieces = [], []
    for tokens in (100_000, 60):
        training = {"micro_batch_tokens": tokens, "regularization": NO_DROPOUT}
        wanted = values(kind=kind, training=training, weight=3.0, threshold=0.6, annealing="linear")
        wanted["task"] = {"name": "text-classification", "class_weights": "balanced"}
        loaded, _ = load_for_training(with_unlabelled(prepare(Recipe(**wanted))))
        rows = loaded.order(0)[0]
        pieces.append(len(loaded.collate(rows)))
        steps = train_steps(loaded)
        seen.append([(step.loss, step.gradient_norm) for _, step in zip(range(4), steps, strict=False)])
    assert pieces[0] == 2
    assert pieces[1] > 6
    for one, other in zip(*seen, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_the_loss_of_a_step_is_both_means(values: Callable[..., dict[str, Any]]) -> None:
    """By the outputs of the model as it stands, without the loop."""
    training = {"regularization": NO_DROPOUT}
    ready = with_unlabelled(prepare(Recipe(**values(training=training, weight=2.0, threshold=0.0, ratio=2))))
    loaded, _ = load_for_training(ready)
    labelled, copied = loaded.collate(loaded.order(0)[0])
    assert (len(labelled.rows), len(copied.rows)) == (8, 16)
    with torch.no_grad():
        logits = [loaded.model(**batch.inputs).logits for batch in (labelled, copied, copied.unchanged)]
    wanted = functional.cross_entropy(logits[0], labelled.labels) + 2 * Sharpened(0.4)(logits[2], logits[1]).mean()
    step = next(train_steps(loaded))
    assert step.loss == pytest.approx(float(wanted), rel=1e-4)
    assert copied.unchanged is not None
    assert step.tokens == labelled.tokens + copied.tokens
    assert copied.tokens > copied.unchanged.tokens


def test_a_run_that_was_stopped_goes_on_bit_for_bit(values: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"annealing": "log", "training": {"evaluate_every": 5}}
    whole = Watcher()
    train(Recipe(**values(**settings)), trackers=[whole])
    first, rest = Stopper(8), Watcher()
    with pytest.raises(Interrupted):
        train(Recipe(**values(output="cut", **settings)), trackers=[first])
    resume(tmp_path / "cut", trackers=[rest])
    weights = [(tmp_path / name / "artifact" / "model.safetensors").read_bytes() for name in ("run", "cut")]
    assert weights[0] == weights[1]

    def told(events: list[Any]) -> list[tuple[Any, ...]]:
        return [(each.step, each.rows, each.sure, each.again, each.changed) for each in of(UnlabelledSeen, events)]

    assert told([*first.seen, *rest.seen]) == told(whole.seen)
    assert len(told(whole.seen)) == len(of(Evaluated, whole.seen)) > 2


def test_it_is_not_resumed_on_another_pool(values: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(Recipe(**values()), trackers=[Stopper(4)])
    write(tmp_path / "pool.csv", pool(89))
    with pytest.raises(WeitiaoError, match="is not what it was"):
        resume(tmp_path / "run")


def test_the_forecast_counts_the_texts_too(values: Callable[..., dict[str, Any]]) -> None:
    wanted = values(ratio=20, training={"micro_batch_tokens": 300})
    more = check(Recipe(**wanted))
    del wanted["consistency"]
    less = check(Recipe(**wanted))
    assert more.facts["unlabelled"] == {"texts": 90, "copies of each": 2}
    assert more.facts["steps"] == less.facts["steps"]
    assert more.facts["forecast"]["epoch"] > 2 * less.facts["forecast"]["epoch"]
    assert any("a step takes 160 texts" in each.problem for each in more.findings)


def test_the_memory_that_a_run_takes_is_that_of_its_many_texts(
    values: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A micro-batch of copies holds more rows than a step has labelled ones."""
    given = with_unlabelled(prepare(Recipe(**values(ratio=7, training={"micro_batch_tokens": 100_000}))))
    groups = alike(micro_batches_of(given), load_for_training(given)[0].order.ahead(0))
    assert [budgets._wished(given, group) for group in groups] == [8, 56]

    def peaks(_ready: Any, _training: Any, counts: list[list[int]], **_: Any) -> list[list[float]]:
        labelled, copies = counts  # 56 of these may take 1e9 + 55 x 0.2e9
        return [[2e9 + 0.1e9 * (count - 1) for count in labelled], [1e9 + 0.2e9 * (count - 1) for count in copies]]

    monkeypatch.setattr(budgets, "peak_of", peaks)
    monkeypatch.setattr(models, "free_memory", lambda *_: 64 << 30)

    def settled(memory: str, tokens: int | str) -> str:
        wanted = values(ratio=7, training={"micro_batch_tokens": tokens}) | {"memory": memory}
        ready = with_unlabelled(prepare(Recipe(**wanted)))
        ready, _, _ = within_memory(ready, load_for_training(ready), None)
        return ready.recipe.origin("training.micro_batch_tokens")

    with pytest.raises(RecipeError, match=r"needs about 12\.00 GB, and may take 10"):
        settled("10GB", 100_000)
    assert "43 of the longest examples" in settled("10GB", "auto")
    assert "56 of the longest examples" in settled("40GB", "auto")


def test_the_longest_of_each_kind_are_tried(
    values: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = with_unlabelled(prepare(Recipe(**values(texts=["a clean room"]))))
    loaded, _ = load_for_training(ready)
    tried: list[list[int]] = []
    real = _Stepping.step
    monkeypatch.setattr(
        _Stepping, "step", lambda self, parts: tried.append(max(parts, key=len).tolist()) or real(self, parts)
    )
    found = peak_of(ready, loaded, [[1, 4], [1, 4]], cut=False)
    assert [len(kind) for kind in found] == [2, 2]
    assert [len(rows) for rows in tried] == [1, 1, 4, 1, 1, 4]
    assert max(map(max, tried[:3])) < 96  # those with a label
    assert {*tried[-1]} == {96, 97}  # both copies that there are, twice


def test_what_is_frozen_is_computed_once_for_them_too(values: Callable[..., dict[str, Any]]) -> None:
    found = []
    for place in ("memory", "never"):
        wanted = values(output=place, training={"cache_frozen": place, "regularization": NO_DROPOUT})
        watcher = Watcher()
        train(Recipe(**wanted | {"method": {"name": "head"}}), trackers=[watcher])
        found.append([step.loss for step in of(StepDone, watcher.seen)])
        cached = [event for event in watcher.seen if event.name == "FrozenCached"]
        assert [event.rows for event in cached[-1:]] == ([96 + 12 + 90 + 180] if place == "memory" else [])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.parametrize("more", [
    {"method": {"name": "lora", "rank": 2}},
    {"training": {"regularization": {"mixout": 0.5}}},
    {"training": {"ema": 0.9}},
    {"training": {"selection": {"curriculum": "length"}, "epochs": 3}},
    {"training": {"selection": {"resample": "oversample"}}},
    {"training": {"checkpoint_activations": "always"}},
    {"training": {"precision": "bf16"}},
])  # fmt: skip
def test_it_goes_with(values: Callable[..., dict[str, Any]], more: dict[str, Any]) -> None:
    wanted = values(training=more.get("training"))
    run = train(Recipe(**wanted | {key: value for key, value in more.items() if key != "training"}))
    assert run.score is not None


def test_it_is_told_how_often_texts_come_by_with_labelled_rows_as_often_as_they_are_drawn(
    values: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    wanted = values(training={"selection": {"resample": "oversample"}})
    with (tmp_path / "reviews.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    few = [row for number, row in enumerate(rows[1:]) if number % 2 or number % 5 == 0]  # of one label fewer
    with (tmp_path / "reviews.csv").open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *few])
    ready = with_unlabelled(prepare(Recipe(**wanted)))
    loaded, _ = load_for_training(ready)
    labelled = len(ready.features["train"])
    drawn = sum(int((rows >= labelled).sum()) for epoch in range(2) for rows in loaded.order(epoch))
    assert drawn > 2 * 3 * labelled * 1.2
    [note] = [each.problem for each in ready.findings if "each text comes by" in each.problem]
    assert f"about {drawn / 90:.2g} times" in note


# --- what is refused


@pytest.mark.parametrize(("changes", "told"), [
    ({"training": {"regularization": {"r_drop": 1.0}}}, r"r_drop\): both compare two passes"),
    ({"training": {"regularization": {"mixup": 0.2}}}, r"mixup\): answers to texts without labels"),
    ({"training": {"selection": {"prune": 0.3}}}, r"prune\): it leaves out labelled examples"),
    ({"method": {"name": "few-shot"}}, "'few-shot' learns from pairs"),
    ({"data": {"label_separator": "|"}}, "any number of labels"),
    ({"distillation": {"teacher": "nowhere"}}, "a teacher says what is learned"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(
    values: Callable[..., dict[str, Any]], changes: dict[str, Any], told: str
) -> None:
    wanted = values()
    for key, value in changes.items():
        wanted[key] = {**wanted.get(key, {}), **value}
    with pytest.raises(RecipeError, match=told):
        check(Recipe(**wanted), forecast=False)


def test_a_task_without_labels_of_texts_is_refused(values: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    rows = [{"text": text, "label": float(number)} for number, (text, _) in enumerate(reviews(60))]
    path = tmp_path / "scores.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    wanted = values() | {"task": {"name": "text-regression"}, "data": {"train": str(path)}}
    with pytest.raises(RecipeError, match="does not give each text one of a few labels"):
        check(Recipe(**wanted), forecast=False)


@pytest.mark.parametrize(("consistency", "texts", "told"), [
    ({"unlabelled": "nowhere.csv"}, None, r"recipe\.yaml:\d+ \(consistency\.unlabelled\)[\s\S]*nowhere\.csv"),
    ({"unlabelled": "other.csv"}, None, r"\(consistency\.unlabelled\)[\s\S]*(review|text)"),
    ({}, [], r"holds no examples"),
    ({}, ["SAME"], r"no row of pool\.csv is left"),
    ({"operators": ["drop-word"]}, None, r"consistency\.operators[\s\S]*drop-word[\s\S]*drop-words"),
    ({"operators": [{"name": "truncate"}]}, None, r"none of the 90 texts can be changed by truncate"),
    ({"operators": ["concatenate"]}, None, r"consistency\.operators\[0\][\s\S]*needs to know which label"),
    ({"operators": ["replace-words"]}, None, r"consistency\.operators\[0\]\.synonyms[\s\S]*nothing that gives"),
    ({"operators": []}, None, r"consistency\.operators"),
    ({"kind": "mixmatch"}, None, r"consistency\.kind"),
    ({"threshold": 1.5}, None, r"consistency\.threshold"),
    ({"treshold": 0.5}, None, r"treshold[\s\S]*threshold"),
])  # fmt: skip
def test_bad_input_is_told_on_the_command_line(
    values: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, consistency: dict[str, Any], texts: list[str] | None, told: str,
) -> None:  # fmt: skip
    import yaml

    wanted = values(texts=texts)
    if texts == ["SAME"]:
        write(tmp_path / "pool.csv", [text for text, _ in reviews(120)])
    write(tmp_path / "other.csv", ["1", "2"], column="number")
    wanted["consistency"] |= {"unlabelled": "pool.csv"} | consistency
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(wanted))
    for command in ("train", "check"):
        monkeypatch.setattr(sys, "argv", ["weitiao", command, str(recipe)])
        assert main() == 2
        error = capsys.readouterr().err
        assert re.search(told, error), error
        assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def others(path: Path, header: str = "id,title,body") -> Path:
    """Texts in the last of three columns."""
    path.write_text("".join(f"{line}\n" for line in [header, *(f"{i},so it is {i},{text}" for i, text in
                                                               enumerate(pool(40)))]))  # fmt: skip
    return path


def read_of(ready: Any) -> list[str]:
    found = ready.reader.tokenizer.batch_decode(list(ready.unlabelled.texts["input_ids"]), skip_special_tokens=True)
    return ["".join(text.split()) for text in found]


def test_a_column_that_the_recipe_names_is_not_guessed(values: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    wanted = values(unlabelled=str(others(tmp_path / "others.csv")))
    with (tmp_path / "reviews.csv").open() as file:
        [_, *rows] = csv.reader(file)
    with (tmp_path / "bodies.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("body", "label"), *(row[:2] for row in rows)])
    wanted["data"]["train"] = str(tmp_path / "bodies.csv")
    for columns in ({"text": "body", "label": "label"}, {}):
        wanted["data"]["columns"] = columns
        assert not any("soitis" in text for text in read_of(with_unlabelled(prepare(Recipe(**wanted)))))
    others(tmp_path / "others.csv", "id,title,message")
    for columns in ({"text": "body"}, {}):
        wanted["data"]["columns"] = columns
        with pytest.raises(WeitiaoError, match=r"others\.csv is the text: there is no 'body'[\s\S]*body or text\. "
                                               "The columns are: id, title, message"):  # fmt: skip
            with_unlabelled(prepare(Recipe(**wanted)))
    others(tmp_path / "others.csv", "id,title,text")
    assert len(read_of(with_unlabelled(prepare(Recipe(**wanted))))) == 40


def test_columns_are_not_mixed_from_both_ways_to_call_them(tmp_path: Path) -> None:
    columns = registry.get("task", "text-classification").columns
    names = {"text": "body", "text_pair": "text", "label": "label"}

    def read(header: str) -> list[dict[str, Any]]:
        (tmp_path / "pairs.csv").write_text(f"{header}\nthe first,the second\n")
        rows = data.unlabelled_rows("pairs.csv", columns, names, base=tmp_path, where="unlabelled")
        return [{role: row[role] for role in ("text", "text_pair")} for row in rows]

    for header in ("text,text_pair", "body,text"):
        assert read(header) == [{"text": "the first", "text_pair": "the second"}]
    with pytest.raises(WeitiaoError, match=r"is the text: there is no 'body'[\s\S]*body, text or text, text_pair\."):
        read("text,other")


def test_rounds_of_other_rows_read_the_same_column(values: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    wanted = values(unlabelled="others.csv")
    with (tmp_path / "reviews.csv").open() as file:
        [_, *rows] = csv.reader(file)
    with (tmp_path / "bodies.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("body", "label"), *(row[:2] for row in rows)])
    wanted["data"] |= {"train": "bodies.csv", "columns": {"text": "body", "label": "label"},
                       "fold": {"number": 1, "of": 3, "keep_test": True}, "test_size": 0.2}  # fmt: skip
    (tmp_path / "recipe.json").write_text(json.dumps(wanted))
    recipe = Recipe.read(tmp_path / "recipe.json")
    others(tmp_path / "others.csv")
    with (tmp_path / "others.csv").open("a", newline="") as file:
        csv.writer(file).writerows([(i, "so it is", row[0]) for i, row in enumerate(rows)])
    ready = prepare(recipe)
    files: dict[Any, Path] = {name: tmp_path / "data" / f"{name}.jsonl" for name in ready.splits}
    for name, path in files.items():
        write_rows(path, rows_of(ready.splits[name], ready.splits.columns.names))
    write_unlabelled(ready, tmp_path / "data")
    found = with_unlabelled(prepare(reading(recipe, ready, files, why="a test")))
    assert found.recipe.to_dict()["consistency"]["unlabelled"] == "data/unlabelled.jsonl"
    texts = read_of(found)
    assert not any("soitis" in text for text in texts)
    assert len(texts) == 40  # none of the test split that the fold leaves out


def test_rounds_of_labelling_read_the_same_column(values: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    wanted = values(unlabelled=str(others(tmp_path / "others.csv")))
    write(tmp_path / "rows.csv", pool(), column="body")
    wanted["data"] = {"train": str(tmp_path / "rows.csv"), "columns": {"text": "body"}}
    project = open_project(str(tmp_path / "rows.csv"), Recipe(**wanted | {"output": None}), folder=tmp_path / "labels",
                           labels=["good", "bad"])  # fmt: skip
    made = round_recipe(project, project.rounds / "001").consistency
    assert made is not None
    file = project.rounds / "001" / made.unlabelled
    project.rounds.joinpath("001").mkdir(parents=True)
    assert [json.loads(line) for line in file.read_text().splitlines()] == [{"text": text} for text in pool(40)]


def test_fewer_texts_than_a_step_takes_is_told(values: Callable[..., dict[str, Any]]) -> None:
    found = check(Recipe(**values(texts=pool(10))), forecast=False)
    [warning] = [each for each in found.findings if each.level == "warning" and "a step takes 24 texts" in each.problem]
    assert "there are 10" in warning.problem


def test_paths_count_from_the_recipe(values: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    import yaml

    (tmp_path / "near.txt").write_text("room, chamber\nstaff, crew\nmeal, dish\nbed, bunk\nview, sight\n")
    wanted = values()
    wanted["consistency"] |= {"unlabelled": "pool.csv", "operators": [
        {"name": "replace-words", "synonyms": "near.txt", "chinese": "characters"}]}  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(wanted))
    recipe = Recipe.read(tmp_path / "recipe.yaml")
    first = with_unlabelled(prepare(recipe))
    assert first.unlabelled is not None
    moved = recipe.moved(tmp_path / "elsewhere")
    assert moved.to_dict()["consistency"]["unlabelled"] == "../pool.csv"
    assert moved.to_dict()["consistency"]["operators"][0]["synonyms"] == "../near.txt"
    (tmp_path / "elsewhere").mkdir()
    again = with_unlabelled(prepare(moved))
    assert again.unlabelled is not None
    assert again.unlabelled.copies["input_ids"] == first.unlabelled.copies["input_ids"]
    (tmp_path / "near.txt").write_text("room, hall\n")
    assert with_unlabelled(prepare(recipe)).digest != first.digest  # what is in the file counts


class Writer:
    """Stands for a model that says texts otherwise."""

    name = "paraphrase"
    Options: Any = None

    def __init__(self, options: Any) -> None:
        self.options = options

    def rewrite(self, texts: Any, counts: Any, *, labels: Any = None, seed: int = 0, others: Any = ()) -> Any:
        from weitiao.workshop.augment import Rewritten

        found = [[f"in other words {number}: {text.text}" for number in range(count)] if row % 3 else []
                 for row, (text, count) in enumerate(zip(texts, counts, strict=True))]  # fmt: skip
        return Rewritten(found, {"made": sum(map(len, found))})


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """`Writer` is the operator `paraphrase`; operators that begin with it."""
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    real = copies.registry.get
    monkeypatch.setattr(copies.registry, "get", lambda kind, name: Writer if name == "paraphrase" and kind == "operator"
                        and sys._getframe(1).f_code.co_name == "opened" else real(kind, name))  # fmt: skip
    return [{"name": "paraphrase", "model": "m"}, OPERATORS[0]]


def test_what_a_model_writes_is_a_copy_too(values: Callable[..., dict[str, Any]], writer: list[dict[str, Any]]) -> None:
    ready = prepare(Recipe(**values(operators=writer, texts=pool(30))))
    silent, found = with_unlabelled(ready, silent=True), with_unlabelled(ready)
    assert any("is not in the forecast" in each.problem for each in silent.findings)
    assert any("paraphrase: made" in each.problem for each in found.findings)
    assert found.unlabelled is not None
    begins = ready.reader.tokenizer("in other words", add_special_tokens=False)["input_ids"]
    rows = found.unlabelled.copies["input_ids"]
    assert sum(row[1 : 1 + len(begins)] == begins for row in rows) == 20
    assert len(rows) == 60


def limited(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A `Writer` that stops at its limit each time it is asked; what it wrote before costs it nothing then."""
    real, asked = Writer.rewrite, list[int]()

    def rewrite(self: Writer, texts: Any, counts: Any, **more: Any) -> Any:
        from weitiao.workshop.augment import Rewritten

        asked.append(len(texts))
        done = real(self, texts, counts, **more)
        found = [own if row < 12 * len(asked) else [] for row, own in enumerate(done.texts)]
        return Rewritten(found, {"made": sum(map(len, found))}, "the limit of what may be spent is reached")

    monkeypatch.setattr(Writer, "rewrite", rewrite)
    return asked


def test_a_run_whose_writer_stopped_at_its_limit_goes_on_with_what_there_was(
    values: Callable[..., dict[str, Any]], tmp_path: Path, writer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = limited(monkeypatch)
    with pytest.raises(Interrupted):
        train(Recipe(**values(operators=writer)), trackers=[Stopper(4)])
    assert resume(tmp_path / "run").status == "finished"
    assert asked == [90]


def test_what_was_written_once_is_told_again_and_not_taken_for_other_texts_or_options(
    values: Callable[..., dict[str, Any]], writer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = limited(monkeypatch)
    first, again = (with_unlabelled(prepare(Recipe(**values(operators=writer)))) for _ in range(2))
    assert first.digest == again.digest
    for ready in (first, again):
        assert any("paraphrase: made 8; stopped: the limit" in each.problem for each in ready.findings)
        assert any("kept from before" in each.problem for each in ready.findings) == (ready is again)
    assert asked == [90]
    with_unlabelled(prepare(Recipe(**values(operators=writer, variants=3))))
    with_unlabelled(prepare(Recipe(**values(operators=writer, texts=pool(60)))))
    with_unlabelled(prepare(Recipe(**values(operators=[{**writer[0], "alike": 0.5}, writer[1]]))))
    assert asked == [90, 90, 60, 90]


def test_an_operator_of_labels_is_refused(values: Callable[..., dict[str, Any]]) -> None:
    asked = [{"name": "new-examples", "model": "m"}]
    with pytest.raises(RecipeError, match="'new-examples' needs to know"):
        with_unlabelled(prepare(Recipe(**values(operators=asked))))


BEGUN: dict[str, Callable[[dict[str, Any], str], object]] = {
    "compare": lambda given, output: compare(given, [{"name": "full"}], output=output),
    "search": lambda given, output: search(
        given | {"search": {"space": {"training.learning_rate": [1e-3, 2e-3]}}}, output=output
    ),
    "probe": lambda given, output: probe(given, [given["model"]], ["full", "head"], output=output),
    "curve": lambda given, output: learning_curve(given, sizes=[20, 40], output=output),
}


@pytest.mark.parametrize("command", BEGUN)
def test_what_trains_several_times_finds_a_wrong_pool_before_its_first_run(
    values: Callable[..., dict[str, Any]], command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trial, "to_its_end", lambda *_, **__: pytest.fail("a run has begun"))
    given = values() | {"output": None}
    given["evaluation"] = {"bootstrap": 20, "baselines": False}
    given["consistency"]["unlabelled"] = str(tmp_path / "nowhere.csv")
    with pytest.raises(WeitiaoError, match=r"nowhere\.csv"):
        BEGUN[command](given, str(tmp_path / command))
