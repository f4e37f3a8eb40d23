"""A student that learns its teacher's probabilities of each next token: the kernel, the loss, runs, refusals."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional

from tests import tiny
from tests.same import not_resumed_beside_another, same_weights, stopped
from tests.unit.test_distillation_texts import WRONG, rows, values, written
from tests.watching import Watcher, of
from weitiao import Recipe, check, load, resume, train
from weitiao.artifacts.run_folder import Run
from weitiao.errors import RecipeError
from weitiao.events import StepDone
from weitiao.kernels import vocabulary_divergence as kernel
from weitiao.kernels import vocabulary_loss as products
from weitiao.kernels.vocabulary_divergence import vocabulary_divergence
from weitiao.kernels.vocabulary_loss import Deferred
from weitiao.preparation import prepare
from weitiao.records import UNTRAINED, Batch
from weitiao.tasks.sequences import token_divergence_from
from weitiao.teaching import texts, with_teacher
from weitiao.training.distil_tokens import DistilledTokens

# --- the divergence


def plainly(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    q, p = ((each.float() / temperature).log_softmax(-1) for each in (student, teacher))
    return functional.kl_div(q, p, reduction="sum", log_target=True)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("chunk", [1, 1 << 19])
def test_it_is_the_divergence_with_its_gradient_in_parts_of_any_size(
    temperature: float, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((kernel, "AT_ONCE"), (kernel, "LOGITS"), (products, "LOGITS"), (products, "WITH_GRADIENT")):
        monkeypatch.setattr(module, name, chunk)
    random = torch.Generator().manual_seed(0)
    states, others = (torch.randn(7, 5, generator=random).requires_grad_() for _ in range(2))
    weight, bias = torch.randn(11, 5, generator=random).requires_grad_(), torch.randn(11).requires_grad_()
    teacher = torch.randn(7, 11, generator=random)
    wanted = plainly(functional.linear(states, weight, bias), teacher, temperature)
    expected = torch.autograd.grad(3 * wanted, [states, weight, bias])
    found = vocabulary_divergence(Deferred.of(states, weight, bias), teacher, temperature)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    for one, other in zip(torch.autograd.grad(3 * found, [states, weight, bias]), expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    logits = functional.linear(states, weight, bias)
    found = vocabulary_divergence(logits, Deferred.of(others, weight, None), temperature)
    assert found.item() == pytest.approx(plainly(logits, others @ weight.T, temperature).item(), rel=1e-5)
    found.backward()
    assert others.grad is None  # nothing of the teacher moves
    assert states.grad is not None


def test_columns_that_are_no_words_of_both_have_no_part() -> None:
    student, teacher = torch.randn(4, 9, requires_grad=True), torch.randn(4, 6)
    found = vocabulary_divergence(student, teacher, 2.0)
    assert found.item() == pytest.approx(plainly(student[:, :6], teacher, 2.0).item(), rel=1e-5)
    found.backward()
    assert student.grad is not None
    assert not student.grad[:, 6:].any()
    assert vocabulary_divergence(student[:0], teacher[:0], 1.0).item() == 0


@pytest.mark.parametrize("shifted", [True, False])
def test_it_is_taken_where_something_is_learned(shifted: bool) -> None:
    student, teacher = torch.randn(2, 4, 7), torch.randn(2, 4, 7)
    labels = torch.tensor([[UNTRAINED, 3, 4, UNTRAINED], [UNTRAINED, UNTRAINED, UNTRAINED, 5]])
    places = [(0, 0), (0, 1), (1, 2)] if shifted else [(0, 1), (0, 2), (1, 3)]
    wanted = sum(float(plainly(student[i, j][None], teacher[i, j][None], 2.0)) for i, j in places)
    batch = Batch({} if shifted else {"labels": labels}, labels, 3.0, 2, [0, 1])
    found = token_divergence_from(SimpleNamespace(logits=teacher), SimpleNamespace(logits=student), 2.0, batch)
    assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_both_parts_have_their_share() -> None:
    batch: Any = None
    for share, wanted in ((0.25, 0.75 * 3 + 0.25 * 4 * 5), (1.0, 4 * 5)):
        loss = DistilledTokens(lambda outputs, _: outputs.loss, lambda *_: torch.tensor(5.0), share, 2.0)
        assert float(loss((SimpleNamespace(loss=torch.tensor(3.0)), None), batch)) == pytest.approx(wanted)


# --- runs


@pytest.fixture(scope="module", params=["llama", "t5"])
def teacher(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp(request.param)
    words = [WRONG, *(text for row in rows() for text in row.values())]
    if request.param == "llama":
        tiny.tiny_llama(folder / "model", words)
    else:
        tiny.tiny_t5(folder / "model", words, dropout_rate=0.0)
    return train(Recipe(**values(written(folder / "right.jsonl", rows()), folder / "model", folder / "run", epochs=3)))


@pytest.fixture
def student(teacher: Run, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def build(training: dict[str, Any] | None = None, **distillation: Any) -> dict[str, Any]:
        wanted = {"teacher": str(teacher.folder), "level": "token", "share": 1.0, **distillation}
        data, model = written(tmp_path / "rows.jsonl", rows()), teacher.folder.parent / "model"
        found = values(data, model, tmp_path / "run", epochs=3, distillation=wanted)
        found["training"] |= training or {}
        return found

    return build


def test_a_students_loss_is_its_distance_from_the_teacher_and_falls(
    student: Callable[..., dict[str, Any]], teacher: Run, tmp_path: Path
) -> None:
    losses: list[float] = []

    class Losses:
        def record(self, event: Any) -> None:
            if event.name == "StepDone":
                losses.append(event.loss)

        def close(self) -> None:
            pass

    run = train(Recipe(**student(training={"epochs": 8})), trackers=[Losses()])
    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])
    assert run.scores["test"]["beside_teachers"][0]["teacher"] == str(teacher.folder)
    copy = student(training={"epochs": 1, "learning_rate": 1e-9})
    copy["model"]["source"] = str(teacher.artifact)  # the teacher itself, which is at no distance
    losses.clear()
    train(Recipe(**copy | {"output": str(tmp_path / "copy")}), trackers=[Losses()])
    assert max(losses) < 1e-3


def test_in_bf16_the_loss_is_finite_and_falls(student: Callable[..., dict[str, Any]]) -> None:
    watcher = Watcher()
    train(Recipe(**student(training={"epochs": 8, "precision": "bf16"})), trackers=[watcher])
    losses = [event.loss for event in of(StepDone, watcher.seen)]
    assert all(map(math.isfinite, losses))
    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])


def test_a_run_that_was_stopped_goes_on_beside_the_same_teacher_alone(
    student: Callable[..., dict[str, Any]], teacher: Run, tmp_path: Path
) -> None:
    own = tmp_path / "teacher"
    shutil.copytree(teacher.artifact, own)
    wanted = student(teacher=str(own), share=0.5)
    whole = train(Recipe(**wanted))
    cut = stopped(wanted, tmp_path / "cut", 4)
    kept = shutil.copytree(cut, tmp_path / "kept")
    same_weights(whole, resume(cut))
    not_resumed_beside_another(own, kept)


def test_the_teachers_pass_is_in_the_forecast(
    student: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from weitiao import passes

    asked: list[int] = []
    real = passes._teacher

    def counted(*given: Any) -> Any:
        said = real(*given)
        return lambda batch: (asked.append(len(batch.rows)), said(batch))[1]

    monkeypatch.setattr(passes, "_teacher", counted)
    found = check(Recipe(**student()))
    assert "forecast" in found.facts
    assert len(asked) >= 3  # the steps that were tried out, each beside its teacher


@pytest.mark.parametrize(("change", "told"), [
    ({"unlabelled": "x.jsonl"}, "next tokens of the data's own"),
    ({"prompt": "{input}"}, "next tokens of the data's own"),
    ({"training": {"regularization": {"r_drop": 1.0}}}, "goes through each batch once"),
    ({"teacher": {"base_url": "http://x/v1", "model": "m"}}, "the next tokens of one run are learned"),
    ({"teacher": "nowhere"}, "the next tokens of one run are learned"),
])  # fmt: skip
def test_what_does_not_go_together_is_told(
    change: dict[str, Any], told: str, student: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(RecipeError, match=told):
        check(Recipe(**student(**change)), forecast=False)


def test_a_teacher_with_another_vocabulary_or_other_prompts_is_refused(
    student: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    wanted = student()
    other = tiny.tiny_llama if "llama" in str(wanted["model"]["source"]) else tiny.tiny_t5
    other(tmp_path / "other", ["quite other words", "of which nobody knows any"])
    with pytest.raises(RecipeError, match=r"another vocabulary than .* tokens are not the same number"):
        check(Recipe(**wanted | {"model": {"source": str(tmp_path / "other")}}), forecast=False)
    wanted["task"] |= {"prompt": "Answer: {input}"}
    with pytest.raises(RecipeError, match="was trained for other prompts"):
        check(Recipe(**wanted), forecast=False)


def test_a_task_of_labels_learns_no_tokens(student: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("text,label\n" + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(40)))
    wanted = student() | {"task": "text-classification"}
    wanted["data"]["train"] = str(path)
    wanted["model"]["source"] = str(tiny.tiny_bert(tmp_path / "bert"))
    with pytest.raises(RecipeError, match="does not learn a teacher's next tokens"):
        check(Recipe(**wanted), forecast=False)


# --- text generation


def generation(folder: Path, columns: list[str], output: str, **more: Any) -> dict[str, Any]:
    found = [dict(zip(("text", "completion"), row.values(), strict=True)) for row in rows()]
    path = written(folder / f"{len(columns)}.jsonl", [{name: row[name] for name in columns} for row in found])
    wanted = values(path, folder / "model", folder / output, epochs=2, **more)
    wanted["task"] = {"name": "text-generation", "generation": {"max_new_tokens": 8}}
    return wanted


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decoder")
    tiny.tiny_llama(folder / "model", [WRONG, *(text for row in rows() for text in row.values())])
    return folder


def test_a_teacher_that_takes_less_than_its_student_reads_is_refused(tmp_path: Path) -> None:
    words = [WRONG, *(text for row in rows() for text in row.values())]
    for name, positions in (("short", 48), ("long", 64)):
        tiny.tiny_gpt2(tmp_path / name, words, n_positions=positions)
    data = written(tmp_path / "rows.jsonl", rows())
    teacher = train(Recipe(**values(data, tmp_path / "short", tmp_path / "teacher", epochs=1)))
    wanted = {"teacher": str(teacher.folder), "level": "token"}
    student = values(data, tmp_path / "long", tmp_path / "run", epochs=1, distillation=wanted)
    with pytest.raises(RecipeError, match=r"up to 64 tokens, and the teacher takes 48[\s\S]*max_length: 48"):
        check(Recipe(**student), forecast=False)
    student["model"]["max_length"] = 48
    check(Recipe(**student), forecast=False)


def test_texts_that_are_learned_whole_are_learned_token_by_token(decoder: Path) -> None:
    teacher = train(Recipe(**generation(decoder, ["text"], "whole")))
    wanted: dict[str, Any] = {"teacher": str(teacher.folder)}
    with pytest.raises(RecipeError, match=r"there is no completion for a teacher to write[\s\S]*level: token"):
        check(Recipe(**generation(decoder, ["text"], "no", distillation=wanted)), forecast=False)
    run = train(Recipe(**generation(decoder, ["text"], "by-token", distillation=wanted | {"level": "token"})))
    [beside] = run.scores["test"]["beside_teachers"]
    assert beside["score"] == "perplexity"
    assert beside["score_kept"] is None  # less is better
    assert beside["score_there"] == pytest.approx(teacher.score, rel=1e-4)  # by the same targets


def test_completions_are_those_that_the_teacher_writes(decoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = train(Recipe(**generation(decoder, ["text", "completion"], "completing")))
    wanted = {"teacher": str(teacher.folder), "share": 1.0}
    ready = prepare(Recipe(**generation(decoder, ["text", "completion"], "student", distillation=wanted)))
    train_split = ready.splits["train"]
    said = [each["text"] for each in load(teacher.folder).predict(list(train_split["text"]))]
    monkeypatch.setattr(texts, "fault_of", lambda each, *_: "" if each.text.strip() else "empty")
    found = list(with_teacher(ready).splits["train"]["completion"])
    assert found == [new if new.strip() else own for new, own in zip(said, train_split["completion"], strict=True)]


def test_replies_are_learned_token_by_token(decoder: Path) -> None:
    path = written(decoder / "chat.jsonl", [{"prompt": row["input"], "completion": row["target"]} for row in rows()])

    def recipe(output: str, **more: Any) -> Recipe:
        return Recipe(**values(path, decoder / "model", decoder / output, epochs=2, **more) | {"task": "chat"})

    teacher = train(recipe("assistant"))
    wanted = {"teacher": str(teacher.folder)}
    with pytest.raises(RecipeError, match=r"cannot learn from a teacher's answers[\s\S]*level: token"):
        check(recipe("no", distillation=wanted), forecast=False)
    run = train(recipe("student", distillation=wanted | {"level": "token", "share": 0.5}))
    [beside] = run.scores["test"]["beside_teachers"]
    assert beside["score_there"] == pytest.approx(teacher.score, rel=1e-4)
    system = values(path, decoder / "model", decoder / "no", distillation=wanted | {"level": "token"})
    with pytest.raises(RecipeError, match="was trained for other prompts"):
        check(Recipe(**system | {"task": {"name": "chat", "system": "Be short."}}), forecast=False)
