"""Pool the slices of a volume by learned attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SliceAttention(nn.Module):
    """One vector of the slices of a volume: ``(N, D, F)`` to ``(N, F)``.

    Gated attention for multiple-instance learning (Ilse et al., 2018, arXiv:1802.04712): a small
    network scores every slice, a softmax over the slices weighs them. Two deviations serve a few
    hundred cases: a score lies within ``+-sharpness``, so that no volume is judged by one slice
    learned by heart, and learning starts at equal weights, the plain mean.

    Args:
        dim: feature width F.
        hidden: width of the scoring network.
        sharpness: largest score; at 3 the strongest slice weighs at most 400 times the weakest.
        dropout: fraction of features hidden from the scores, in training.
    """

    def __init__(
        self, dim: int, hidden: int = 16, sharpness: float = 3.0, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.dropout = nn.Dropout(dropout)
        self.content = nn.Linear(dim, hidden)
        self.gate = nn.Linear(dim, hidden)
        self.score = nn.Linear(hidden, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, slices: Tensor) -> Tensor:
        """Return the weighed mean ``(N, F)`` of slices ``(N, D, F)``."""
        return (self.weights(slices)[:, :, None] * slices).sum(1)

    def weights(self, slices: Tensor) -> Tensor:
        """Return the weight of each slice, ``(N, D)``; each row sums to 1."""
        seen = self.dropout(slices)
        hidden = torch.tanh(self.content(seen)) * torch.sigmoid(self.gate(seen))
        scores = self.sharpness * torch.tanh(self.score(hidden)).squeeze(-1)
        return scores.softmax(1)
