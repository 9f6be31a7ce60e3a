"""Combine decisions by a logistic regression on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_FLOOR = -16.0


class StackingFusion(nn.Module):
    """Multinomial logistic regression on the log-probabilities of all sources.

    It is fitted on predictions for cases that the heads were not trained on (Wolpert, 1992,
    "Stacked generalization", doi:10.1016/S0893-6080(05)80023-1) and starts as the geometric mean.
    Log-probabilities below -16 count as -16. An absent source is taken to say what the others
    say on average.

    Args:
        num_sources: number of sources S.
        num_outputs: number of classes K.
    """

    def __init__(self, num_sources: int, num_outputs: int) -> None:
        super().__init__()
        start = torch.eye(num_outputs).expand(num_sources, -1, -1) / num_sources
        self.weight = nn.Parameter(start.clone())
        self.bias = nn.Parameter(torch.zeros(num_outputs))

    def forward(self, logits: Tensor, mask: Tensor) -> tuple[Tensor, None]:
        """Return log-probabilities ``(N, K)``, and no shares."""
        present = mask[:, :, None] > 0
        known = torch.where(present, logits.clamp(min=_FLOOR), 0.0)
        count = present.sum(1, keepdim=True)
        filled = torch.where(present, known, known.sum(1, keepdim=True) / count.clamp(min=1))
        stacked = torch.einsum("nsk,skj->nj", filled, self.weight) + self.bias
        return torch.where(count[:, 0] > 0, stacked, 0.0).log_softmax(-1), None
