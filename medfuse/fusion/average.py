"""Combine decisions by the mean of their probabilities."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AverageFusion(nn.Module):
    """Log of the mean probability of the sources present; each of them has the same share.

    Args:
        num_sources: number of sources S.
        num_outputs: number of classes K.
    """

    def __init__(self, num_sources: int, num_outputs: int) -> None:
        super().__init__()
        self.num_sources = num_sources
        self.num_outputs = num_outputs

    def forward(self, logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-probabilities ``(N, K)`` and shares ``(N, S)``."""
        present = (mask > 0).to(logits.dtype)
        count = present.sum(1, keepdim=True)
        shares = present / count.clamp(min=1.0)
        known = torch.where(mask[:, :, None] > 0, logits, 0.0)
        mean = (shares[:, :, None] * known.exp()).sum(1)
        uniform = torch.full_like(mean, 1.0 / self.num_outputs)
        mean = torch.where(count > 0, mean, uniform)
        return mean.clamp(min=torch.finfo(mean.dtype).tiny).log(), shares
