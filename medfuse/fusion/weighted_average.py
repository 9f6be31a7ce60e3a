"""Combine decisions by a learned weighted mean of their probabilities."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightedAverageFusion(nn.Module):
    """Log of the weighted mean probability; a linear opinion pool with one weight per source.

    The weights are fitted on predictions for cases that the heads were not trained on, and start
    equal. Where a source is absent, the others' weights are scaled up to sum to 1. (Stone, 1961,
    "The opinion pool", doi:10.1214/aoms/1177704873.)

    Args:
        num_sources: number of sources S.
        num_outputs: number of classes K.
    """

    def __init__(self, num_sources: int, num_outputs: int) -> None:
        super().__init__()
        self.num_outputs = num_outputs
        self.scores = nn.Parameter(torch.zeros(num_sources))

    def forward(self, logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities ``(N, K)`` and shares ``(N, S)``."""
        present = (mask > 0).to(logits.dtype)
        lowest = torch.finfo(logits.dtype).min
        scores = torch.where(mask > 0, self.scores.expand_as(present), lowest)
        shares = scores.softmax(1) * present
        known = torch.where(mask[:, :, None] > 0, logits, 0.0)
        mean = (shares[:, :, None] * known.exp()).sum(1)
        uniform = torch.full_like(mean, 1.0 / self.num_outputs)
        mean = torch.where(present.sum(1, keepdim=True) > 0, mean, uniform)
        return mean.clamp(min=torch.finfo(mean.dtype).tiny).log(), shares
