"""Learning a teacher's probabilities of each next token: word-level distillation (Hinton et al. 2015; Kim & Rush 2016,
section 3.1, arXiv:1606.07947).
"""  # fmt: skip

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from weitiao.records import Batch


@dataclass(frozen=True)
class WithTeacher:
    """Run a batch through the student and through its teacher, which stays in memory: logits over a vocabulary are too
    many to be kept. The outputs are a pair.
    """  # fmt: skip

    forward: Callable[[Any, Batch], Any]
    teacher: Callable[[Batch], Any]  # without gradients

    def __call__(self, model: Any, batch: Batch) -> tuple[Any, Any]:
        """Return the student's outputs and the teacher's."""
        return self.forward(model, batch), self.teacher(batch)


@dataclass(frozen=True)
class DistilledTokens:
    """``(1 - share) L + share weight T² KL(teacher, student)`` at a temperature T, both summed over the tokens that are
    learned.
    """  # fmt: skip

    loss: Callable[[Any, Batch], torch.Tensor]  # of the data's tokens, summed
    divergence: Callable[[Any, Any, float, Batch], torch.Tensor]  # teacher's outputs, student's, T -> summed KL
    share: float
    temperature: float
    weight: float = 1.0  # of the probabilities within the teacher's share

    def __call__(self, outputs: tuple[Any, Any], batch: Batch) -> torch.Tensor:
        """Return the loss of a pair of outputs, a scalar in fp32."""
        student, teacher = outputs
        divergence = self.divergence(teacher, student, self.temperature, batch)
        softly = self.weight * self.temperature**2 * divergence
        if self.share == 1:
            return softly
        return (1 - self.share) * self.loss(student, batch) + self.share * softly
