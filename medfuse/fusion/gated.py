"""Fuse with weights that a small gating network gives to each case."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medfuse.fusion.presence import zeros_where_absent


class GatedFusion(nn.Module):
    """Features weighed case by case, side by side: ``(N, sum of F_s)``.

    A gating network sees a ``tanh`` code of every source and gives each source its share of the
    case, as in gated multimodal units (Arevalo et al., 2017, arXiv:1702.01992). Unlike there, the
    features are not projected but weighed by ``shares * sources present``: equal shares, where
    learning starts, give plain concatenation, and nothing is lost.

    Args:
        in_dims: feature width of each source.
        hidden: width of the code of each source.
        sharpness: largest score; it bounds how clearly a case can choose, since a gate that is
            free to choose learns the training cases by heart.
        dropout: fraction of features hidden from the gate, in training.
    """

    def __init__(
        self,
        in_dims: Sequence[int],
        hidden: int = 16,
        sharpness: float = 0.25,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.out_dim = sum(in_dims)
        self.sharpness = sharpness
        self.dropout = nn.Dropout(dropout)
        self.codes = nn.ModuleList(nn.Linear(dim, hidden) for dim in in_dims)
        self.gate = nn.Linear(hidden * len(in_dims), len(in_dims))
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, features: Sequence[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(fused (N, out_dim), shares (N, S))``."""
        present = (mask > 0).to(self.gate.weight.dtype)
        known = zeros_where_absent(features, mask)
        codes = [
            torch.tanh(code(self.dropout(x))) * present[:, i, None]
            for i, (code, x) in enumerate(zip(self.codes, known, strict=True))
        ]
        scores = self.sharpness * torch.tanh(self.gate(torch.cat(codes, dim=1)))
        shares = _masked_softmax(scores, present)
        scale = shares * present.sum(1, keepdim=True)
        return torch.cat([x * scale[:, i, None] for i, x in enumerate(known)], dim=1), shares


def _masked_softmax(scores: Tensor, present: Tensor) -> Tensor:
    """Return shares ``(N, S)`` that sum to 1 over the sources present; zeros if none is."""
    lowest = torch.finfo(scores.dtype).min
    return torch.where(present > 0, scores, lowest).softmax(1) * present
