"""An embedding that moves row by row is where PyTorch's AdamW would have it, at any time it is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from weitiao.training import rows as rows_module
from weitiao.training.optimizer import load_optimizer_state, optimizer_state
from weitiao.training.rows import RowAdamW, by_rows

ROWS, WIDTH = 60, 8
CLOSE = 2e-4  # a hundredth of one update; only where gradients are about as small as eps is it as much


@pytest.fixture(autouse=True)
def small_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "LARGE", 1)


class Reader(nn.Module):
    """A table of embeddings and a matrix beside it, whose gradients do not hang on the table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(ROWS, WIDTH, padding_idx=0)
        self.out = nn.Linear(WIDTH, 1)
        self.slopes = torch.linspace(-2, 3, ROWS * WIDTH).view(ROWS, WIDTH).sin() ** 3

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = (self.table(ids) * self.slopes[ids]).sum() + self.out(self.slopes[ids]).square().mean()
        return loss


def batches(count: int, seed: int = 0) -> Iterator[list[torch.Tensor]]:
    """Micro-batches of a few rows, many of them never and some once only."""
    draw = np.random.default_rng(seed)
    for _ in range(count):
        yield [torch.from_numpy(draw.choice(40, (2, 3), p=_weights())) for _ in range(2)]


def _weights() -> list[float]:
    rare = 1.0 / np.arange(1, 41) ** 1.5
    return list(rare / rare.sum())


def rate(step: int) -> float:
    return 0.02 * (1 - step / 120)


def optimizer_of(model: Reader, kind: type[torch.optim.AdamW]) -> torch.optim.AdamW:
    groups: list[dict[str, Any]] = [{"params": [model.table.weight], "weight_decay": 0.1},
                                    {"params": model.out.parameters()}]  # fmt: skip
    return kind(groups,
                lr=0.02, fused=True)  # fmt: skip


def step(model: Reader, optimizer: torch.optim.AdamW, parts: list[torch.Tensor], number: int, scale: float) -> None:
    for ids in parts:
        model(ids).backward()
    for group in optimizer.param_groups:
        group["lr"] = rate(number)
    optimizer.grad_scale = torch.tensor(scale)  # type: ignore[attr-defined]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def twins() -> tuple[Reader, Reader]:
    torch.manual_seed(3)
    one, other = Reader(), Reader()
    other.load_state_dict(one.state_dict())
    return one, other


@pytest.mark.parametrize("most", [5, 512])
def test_as_the_dense_optimizer(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "MOST", most)
    plain, ours = twins()
    theirs, own = optimizer_of(plain, torch.optim.AdamW), optimizer_of(ours, RowAdamW)
    assert isinstance(own, RowAdamW)
    start = ours.table.weight.detach().clone()
    with by_rows(ours, own):
        for number, parts in enumerate(batches(100)):
            step(plain, theirs, parts, number, 2.0)
            step(ours, own, parts, number, 2.0)
            if number == 50:
                own.settle_all()
                torch.testing.assert_close(ours.table.weight, plain.table.weight, rtol=1e-5, atol=CLOSE)
        behind = ours.table.weight.detach().clone()
        losses = [float(model(torch.arange(ROWS)).detach()) for model in (plain, ours)]  # reading settles what is read
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert most < 100 or not torch.allclose(behind, plain.table.weight, atol=1e-2)  # else nothing was put off
    torch.testing.assert_close(ours.state_dict(), plain.state_dict(), rtol=1e-5, atol=CLOSE)
    state, wanted = own.state[ours.table.weight], theirs.state[plain.table.weight]
    for name in ("exp_avg", "exp_avg_sq", "step"):
        torch.testing.assert_close(state[name], wanted[name], rtol=1e-4, atol=1e-9)
    assert not torch.equal(ours.table.weight[59], start[59])  # never read, but decayed
    assert not ours.table.sparse


def test_a_state_that_is_put_back_goes_on_bit_for_bit() -> None:
    """A run that is stopped between two settlings ends as one that is not."""
    one, other = twins()
    first = optimizer_of(one, RowAdamW)
    steps = list(batches(40))
    assert isinstance(first, RowAdamW)
    with by_rows(one, first):
        for number, parts in enumerate(steps[:25]):
            step(one, first, parts, number, 1.0)
        second = optimizer_of(other, RowAdamW)
        assert isinstance(second, RowAdamW)
        other.load_state_dict(one.state_dict())
        load_optimizer_state(second, other, optimizer_state(first, one))
        with by_rows(other, second):
            for number, parts in enumerate(steps[25:], 25):
                step(one, first, parts, number, 1.0)
                step(other, second, parts, number, 1.0)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_dense_and_sparse_gradients_in_turns() -> None:
    plain, ours = twins()
    theirs, own = optimizer_of(plain, torch.optim.AdamW), optimizer_of(ours, RowAdamW)
    assert isinstance(own, RowAdamW)
    for number, parts in enumerate(batches(60)):
        step(plain, theirs, parts, number, 1.0)
        if number // 10 % 2:
            step(ours, own, parts, number, 1.0)
        else:
            with by_rows(ours, own):
                step(ours, own, parts, number, 1.0)
    torch.testing.assert_close(ours.state_dict(), plain.state_dict(), rtol=1e-5, atol=CLOSE)


def test_a_tied_table_stays_dense() -> None:
    model = Reader()
    model.out = nn.Linear(WIDTH, ROWS, bias=False)
    model.out.weight = model.table.weight
    optimizer = RowAdamW(model.parameters(), fused=True)
    with by_rows(model, optimizer):
        model(torch.tensor([[1, 2]])).backward()
        assert not model.table.weight.grad.is_sparse  # type: ignore[union-attr]
