"""Learning from a teacher's probabilities beside the labels (Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from weitiao.records import Batch


@dataclass(frozen=True)
class Distilled:
    """``(1 - share) L + share weight T² KL(teacher, student)``, both at temperature T, summed over a batch's examples;
    what an example counts in the one it counts in the other.

    T² keeps the gradient of the teacher's part as large as it is at a temperature of 1 (section 2 of the paper).
    """

    losses: Callable[[Any, Batch], torch.Tensor]  # of the labels, shape (examples,)
    divergence: Callable[[Any, torch.Tensor, float, Batch], torch.Tensor]  # outputs, teacher's logits, T -> summed KL
    taught: np.ndarray  # the teacher's logits of each training example, fp32 of shape (examples, ...)
    share: float
    temperature: float
    labelled: int  # so many examples, the first ones, have a label; of the others the teacher's part alone is learned
    weight: float = 1.0  # of the probabilities within the teacher's share

    def __call__(self, outputs: Any, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch, a scalar in fp32."""
        import torch

        taught = torch.from_numpy(self.taught[batch.rows]).to(outputs.logits.device)
        divergence = self.divergence(outputs, taught, self.temperature, batch)
        softly = self.weight * self.temperature**2 * divergence
        if self.share == 1:
            return softly
        known = torch.tensor([row < self.labelled for row in batch.rows], device=outputs.logits.device)
        return (1 - self.share) * self.losses(outputs, batch)[known].sum() + self.share * softly
