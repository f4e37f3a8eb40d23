"""AdamW that moves an embedding row by row: only the rows of a batch are read and written, the others when next needed.

Most of a small encoder's weights are its table of embeddings, and a batch holds a few hundred of its tens of thousands
of rows. AdamW nevertheless moves all of them at each step: a row without a gradient goes on by its fading momentum and
is decayed. As that hangs on nothing but the row itself, it can be made up for later, many steps at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

LARGE = 1_000_000  # numbers in a table from which on it is worth while
TABLES = ("kept", "moved", "crept")
MOST = 512  # steps after which all rows are settled, so that what is remembered of past steps stays short


class RowAdamW(torch.optim.AdamW):
    """PyTorch's fused AdamW (Loshchilov & Hutter 2019), and the same for gradients that hold some rows of a matrix.

    Such a parameter is behind until `settle`: its rows stand where their last gradient left them. Let a row have had
    its last gradient at update s, and let m and v be its moments then. With decay w, rate l_j at update j and no
    gradient since, it stands after update t at ``A p - B m / (sqrt(v) + eps B / C)``, where ::

        A = prod_{s<j<=t} (1 - l_j w)
        B = sum_{s<j<=t} l_j / (1 - b1^j) (b1 / sqrt(b2))^(j-s) sqrt(1 - b2^j) prod_{j<i<=t} (1 - l_i w)
        C = sum_{s<j<=t} l_j / (1 - b1^j) b1^(j-s) prod_{j<i<=t} (1 - l_i w)

    That is AdamW's own sum where sqrt(v) is far above or far below eps, and close to it in between. What is kept of
    such a parameter beside AdamW's state: ``behind`` (rows,), the updates from the last settling of all rows to a row's
    last gradient, and A, B and C by that number: ``kept``, ``moved`` and ``crept``.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update by the gradients there are."""
        parts = []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.grad.is_sparse:
                    parts.append((parameter, group, parameter.grad))
                    parameter.grad = None
                else:
                    self.settle(parameter)
        loss = super().step(closure)
        for parameter, group, gradient in parts:
            self._step_rows(parameter, group, gradient)
            parameter.grad = gradient
        return loss

    def settle_all(self) -> None:
        """Bring all weights to where AdamW would have them after the last update."""
        for parameter in list(self.state):
            self.settle(parameter)

    @torch.no_grad()
    def settle(self, parameter: torch.Tensor, rows: torch.Tensor | None = None) -> None:
        """Bring rows of a parameter (all when None) to where AdamW would have them after the last update."""
        state = self.state.get(parameter)
        if not state or "behind" not in state or len(state["kept"]) == 1:
            return
        group = next(group for group in self.param_groups if any(each is parameter for each in group["params"]))
        last = len(state["kept"]) - 1
        for some in [rows] if rows is not None else torch.split(torch.arange(len(parameter)), 4096):
            since = state["behind"][some]
            late = since < last
            self._make_up(parameter, state, group, some[late], since[late])
        if rows is None:
            state["behind"].zero_()
            state |= _empty_tables()

    def _make_up(
        self, parameter: torch.Tensor, state: dict[str, Any], group: dict[str, Any], rows: torch.Tensor,
        since: torch.Tensor,
    ) -> None:  # fmt: skip
        """Make up for the updates without a gradient that `rows` have behind them since their number `since`."""
        if not len(rows):
            return
        last = len(state["kept"]) - 1
        first, second = group["betas"]
        kept, moved, crept, missed = (
            each.view((-1,) + (1,) * (parameter.ndim - 1))
            for each in (*(state[name][since] for name in TABLES), (last - since).double())
        )
        moment, square = state["exp_avg"][rows], state["exp_avg_sq"][rows]
        share = torch.where(crept > 0, moved / crept, 1.0)  # 0 where the rate has been 0
        root = square.sqrt().add_((group["eps"] * share).float())
        parameter[rows] = (parameter[rows] * kept.float()).addcdiv_(moment * -moved.float(), root)
        state["exp_avg"][rows] = moment * (first**missed).float()
        state["exp_avg_sq"][rows] = square * (second**missed).float()
        state["behind"][rows] = last

    def _step_rows(self, parameter: nn.Parameter, group: dict[str, Any], gradient: torch.Tensor) -> None:
        """AdamW's update of the rows of `gradient`, and a note of it for all the others."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        if "behind" not in state:
            state["behind"] = torch.zeros(len(parameter), dtype=torch.int32)
            state |= _empty_tables()
        gradient = gradient.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        self.settle(parameter, rows)
        state["step"] += 1
        step, rate, decay = float(state["step"]), group["lr"], group["weight_decay"]
        first, second = group["betas"]
        scale = getattr(self, "grad_scale", None)
        if scale is not None:
            values = values / scale
        moment = state["exp_avg"][rows].lerp_(values, 1 - first)
        square = state["exp_avg_sq"][rows].mul_(second).addcmul_(values, values, value=1 - second)
        pace = rate / (1 - first**step)
        root = square.sqrt().div_((1 - second**step) ** 0.5).add_(group["eps"])
        parameter[rows] = parameter[rows].mul_(1 - rate * decay).addcdiv_(moment, root, value=-pace)
        state["exp_avg"][rows], state["exp_avg_sq"][rows] = moment, square
        _note(state, 1 - rate * decay, pace, (1 - second**step) ** 0.5, first, second)
        state["behind"][rows] = len(state["kept"]) - 1
        if len(state["kept"]) > MOST:
            self.settle(parameter)


def _empty_tables() -> dict[str, torch.Tensor]:
    """Of no update."""
    return {name: torch.full((1,), float(name == "kept"), dtype=torch.float64) for name in TABLES}


def _note(state: dict[str, Any], keeps: float, pace: float, root: float, first: float, second: float) -> None:
    """Take one more update into A, B and C, for rows that had their last gradient 1, 2, ... updates before it."""
    ago = torch.arange(len(state["kept"]), 0, -1, dtype=torch.float64)
    moves = {"moved": pace * root * (first / second**0.5) ** ago, "crept": pace * first**ago}
    for name, empty in _empty_tables().items():
        state[name] = torch.cat([state[name] * keeps + moves.get(name, 0.0), empty])


def settle_tensors(weights: dict[str, torch.Tensor], state: dict[str, torch.Tensor], optimizer: RowAdamW,
                   names: Mapping[int, str]) -> None:  # fmt: skip
    """Settle what a checkpoint holds, in place, for a training that knows nothing of rows; what is kept of them goes.

    `state` is by ``<what>/<name>``; `names` tells the optimizer's parameters, by their `id`.
    """
    groups = {names[id(each)]: group for group in optimizer.param_groups for each in group["params"]}
    for name in [key.partition("/")[2] for key in state if key.startswith("behind/")]:
        parameter = torch.nn.Parameter(weights[name])
        alone = RowAdamW([{**groups[name], "params": [parameter]}])
        alone.state[parameter] = {
            what: state.pop(f"{what}/{name}") for what in ("step", "exp_avg", "exp_avg_sq", "behind", *TABLES)
        }
        alone.settle_all()
        weights[name] = parameter.detach()
        state |= {f"{what}/{name}": alone.state[parameter][what] for what in ("step", "exp_avg", "exp_avg_sq")}


@contextmanager
def by_rows(model: nn.Module, optimizer: RowAdamW) -> Iterator[None]:
    """Have the large embeddings of a model that move get gradients of a batch's rows, for as long as this lasts.

    Rows are settled before the model reads them, and all of them at the end. Nobody else may read the weights
    meanwhile without `RowAdamW.settle_all`. A table that not only embeddings read (tied to the output) stays as it is.
    """
    with ExitStack() as undo:
        undo.callback(optimizer.settle_all)
        for parameter, modules in _tables(model):
            undo.callback(parameter.register_post_accumulate_grad_hook(_added_up).remove)  # type: ignore[no-untyped-call]
            for module in modules:
                module.sparse = True
                undo.callback(setattr, module, "sparse", False)
                hook = _settled(optimizer, parameter)
                undo.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield


def _added_up(parameter: nn.Parameter) -> None:
    """Each row once."""
    if parameter.grad is not None and parameter.grad.is_sparse:
        parameter.grad = parameter.grad.coalesce()


def _settled(optimizer: RowAdamW, parameter: nn.Parameter) -> Callable[..., None]:
    def before(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if optimizer.state.get(parameter):
            optimizer.settle(parameter, torch.unique(given[0] if given else named["input"]))

    return before


def _tables(model: nn.Module) -> Iterator[tuple[nn.Parameter, list[nn.Embedding]]]:
    from torch import nn

    owners = defaultdict[int, list[nn.Module]](list)
    found: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners[id(parameter)].append(module)
                found[id(parameter)] = parameter
    for key, parameter in found.items():
        modules = owners[key]
        if (
            parameter.requires_grad and parameter.numel() >= LARGE and parameter.device.type == "cpu"
            and all(type(module) is nn.Embedding and module.max_norm is None and not module.scale_grad_by_freq
                    for module in modules)
        ):  # fmt: skip
            yield parameter, modules  # type: ignore[misc]
