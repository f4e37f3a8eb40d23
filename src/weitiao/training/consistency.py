"""The same answer to a text and to a changed copy of it: consistency training (UDA: Xie et al. 2020, arXiv:1904.12848;
FixMatch: Sohn et al. 2020, arXiv:2001.07685).
"""  # fmt: skip

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.events import UnlabelledSeen
from weitiao.parallel import SINGLE, Parallel

if TYPE_CHECKING:
    import torch

    from weitiao.records import Batch

STEEP = 5.0  # of the annealing by `log` and `exp`, as in UDA
ANNEALING: Mapping[str, Callable[[float], float]] = {
    "linear": lambda share: share,
    "log": lambda share: 1 - math.exp(-STEEP * share),
    "exp": lambda share: math.exp(STEEP * (share - 1)),
}
NOBODY = -1  # stands for no text, and for no label

Difference = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]  # logits of texts, of copies -> (rows,)


# --- texts without labels


@dataclass(frozen=True)
class BesideUnchanged:
    """Run copies through a model, and the texts that they were made of without gradients. The outputs are a pair."""

    forward: Callable[[Any, Batch], Any]

    def __call__(self, model: Any, batch: Batch) -> Any:
        """Return the outputs of a batch; of copies also the logits of the texts themselves."""
        import torch

        outputs = self.forward(model, batch)  # first: what autocast keeps of weights for later must have gradients
        if batch.unchanged is None:
            return outputs
        with torch.no_grad():
            return outputs, self.forward(model, batch.unchanged).logits


@dataclass(frozen=True)
class Sharpened:
    """UDA: ``KL(P, Q)``, P being the answer to the text itself with its logits divided by `temperature`."""

    temperature: float

    def __call__(self, own: torch.Tensor, copies: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row, shape (rows,), from the logits of texts and of copies, (rows, labels)."""
        from torch.nn import functional

        wanted = (own / self.temperature).log_softmax(-1)
        return functional.kl_div(copies.log_softmax(-1), wanted, reduction="none", log_target=True).sum(-1)


@dataclass(frozen=True)
class PseudoLabelled:
    """FixMatch: cross-entropy with the likeliest label of the text itself."""

    def __call__(self, own: torch.Tensor, copies: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row, as `Sharpened` does."""
        from torch.nn import functional

        return functional.cross_entropy(copies, own.argmax(-1), reduction="none")


def sure(logits: torch.Tensor, threshold: float) -> torch.Tensor:
    """Return whether the likeliest label has a probability of `threshold` at least, shape (rows,)."""
    return logits.softmax(-1).amax(-1) >= threshold


@dataclass(frozen=True)
class Consistent:
    """The loss of labelled examples as ever; of copies `weight` times what they differ by from the texts themselves,
    summed over those that the model is sure of: the loop divides by all of a step.
    """  # fmt: skip

    labelled: Callable[[Any, Batch], torch.Tensor]
    difference: Difference
    weight: float
    threshold: float
    answers: LatestAnswers

    def __call__(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch, a scalar in fp32."""
        if batch.unchanged is None:
            return self.labelled(outputs, batch)
        copies, own = outputs[0].logits.float(), outputs[1].float()
        learned = sure(own, self.threshold)
        self.answers.note(batch.rows, own.argmax(-1), learned)
        return self.weight * (self.difference(own, copies) * learned).sum()


class LatestAnswers:
    """What the model answered to each text when it last came by: a part of the steps that `Tells`.

    `texts` is their number, `most` how many a step takes at most; several processes tell each other after each step.
    """

    def __init__(self, texts: int, most: int, parallel: Parallel = SINGLE) -> None:
        self.parallel, self._most = parallel, most
        self.labels = np.full(texts, NOBODY, np.int64)
        self._counts = np.zeros(4, np.int64)  # since it was told last: rows, sure ones, rows seen before, changed ones
        self._waiting: list[tuple[list[int], torch.Tensor, torch.Tensor]] = []  # of the step under way
        self._step: list[tuple[list[int], torch.Tensor, torch.Tensor]] = []  # of the one whose batches have come by

    def begin(self) -> None:
        """Forget steps that were only tried out."""
        self._waiting = []

    def note(self, rows: list[int], labels: torch.Tensor, learned: torch.Tensor) -> None:
        """Take the answers to the texts `rows`; they count once the step is done."""
        self._waiting.append((rows, labels.detach(), learned.detach()))

    def penalty(self, model: torch.nn.Module) -> None:
        """Nothing is added to the loss; all batches of the step have come by."""
        self._step, self._waiting = self._waiting, []

    def after_step(self, model: torch.nn.Module, step: int, steps: int) -> None:
        """Take what was noted in this step, in all processes."""
        import torch

        own = torch.full((3, self._most), NOBODY, dtype=torch.int64)
        at = 0
        for rows, *found in self._step:
            for place, values in enumerate((torch.tensor(rows), *found)):
                own[place, at : at + len(rows)] = values.to("cpu", torch.int64)
            at += len(rows)
        told = torch.cat(self.parallel.each(own), 1).numpy()
        self._take(told[:, told[0] != NOBODY])

    def _take(self, told: np.ndarray) -> None:
        rows, labels, learned = told
        before = self.labels[rows]
        known = before != NOBODY
        self._counts += np.array([len(rows), learned.sum(), known.sum(), (known & (before != labels)).sum()])
        self.labels[rows] = labels

    def told(self, step: int) -> UnlabelledSeen:
        """Tell what came by since it was asked last."""
        rows, learned, again, changed = self._counts.tolist()
        self._counts[:] = 0
        return UnlabelledSeen(step=step, rows=rows, sure=learned / max(rows, 1), again=again,
                              changed=changed / max(again, 1))  # fmt: skip

    def state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """The answers, and what was not told yet."""
        import torch

        return {"labels": torch.from_numpy(self.labels.copy()), "counts": torch.from_numpy(self._counts.copy())}

    def restore(self, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what was known; with nothing, no text has come by."""
        self.begin()
        self.labels[:] = tensors["labels"].numpy() if tensors else NOBODY
        self._counts[:] = tensors["counts"].numpy() if tensors else 0


# --- labelled examples


class Annealing:
    """The bound over which labelled examples are held back, as it rises: a part of the steps (`TakesPart`).

    ``a(t / T) (1 - 1 / K) + 1 / K`` at step t of T with K labels (section 3.2 of UDA, training signal annealing).
    """

    def __init__(self, course: Callable[[float], float], labels: int) -> None:
        self._course, self._lowest = course, 1 / labels
        self._share = 0.0  # of the steps that are done

    @property
    def bound(self) -> float:
        """It, as a probability."""
        return self._course(self._share) * (1 - self._lowest) + self._lowest

    def penalty(self, model: torch.nn.Module) -> None:
        """Nothing is added to the loss."""

    def after_step(self, model: torch.nn.Module, step: int, steps: int) -> None:
        """Go on."""
        self._share = step / steps

    def state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """How far it is."""
        import torch

        return {"share": torch.tensor([self._share], dtype=torch.float64)}

    def restore(self, model: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back how far it was; with nothing, at the start."""
        self._share = float(tensors["share"]) if tensors else 0.0


@dataclass(frozen=True)
class HeldBack:
    """The loss of labelled examples without those whose label is likelier than the bound of an `Annealing`.

    UDA takes the mean over the others alone. Here they count 0 in the mean over all, so that it does not hang on how a
    step is cut.
    """

    losses: Callable[[Any, Batch], torch.Tensor]  # of each example, shape (examples,)
    annealing: Annealing

    def __call__(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Return the loss summed over a batch, a scalar."""
        assert batch.labels is not None
        right = outputs.logits.detach().float().softmax(-1).gather(-1, batch.labels[:, None]).squeeze(-1)
        held: torch.Tensor = right > self.annealing.bound
        return self.losses(outputs, batch).masked_fill(held, 0.0).sum()
