"""Fuse with one learned weight per source, the same for all cases."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medfuse.fusion.presence import zeros_where_absent


class WeightedFusion(nn.Module):
    """Features weighed by learned shares: ``(N, sum of F_s)``, or ``(N, width)``.

    With ``width`` 0 the features themselves are weighed by ``shares * sources present`` and
    written side by side: equal shares, where learning starts, give plain concatenation, and
    nothing is lost. With a ``width``, every source is projected to it, layer-normalized, and the
    weighted sum is taken.

    Args:
        in_dims: feature width of each source.
        width: common width of the projections; 0 for none.
        dropout: fraction of features set to zero before the projection, in training.
    """

    def __init__(self, in_dims: Sequence[int], width: int = 0, dropout: float = 0.3) -> None:
        super().__init__()
        self.width = width
        self.out_dim = width or sum(in_dims)
        self.scores = nn.Parameter(torch.zeros(len(in_dims)))
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, width), nn.LayerNorm(width))
            for dim in (in_dims if width else ())
        )

    def forward(self, features: Sequence[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(fused (N, out_dim), shares (N, S))``."""
        present = (mask > 0).to(self.scores.dtype)
        shares = _masked_softmax(self.scores.expand_as(present), present)
        known = zeros_where_absent(features, mask)
        if self.width:
            known = [p(x) for p, x in zip(self.projections, known, strict=True)]
            weighed = [x * shares[:, i, None] for i, x in enumerate(known)]
            return torch.stack(weighed).sum(0), shares
        scale = shares * present.sum(1, keepdim=True)
        return torch.cat([x * scale[:, i, None] for i, x in enumerate(known)], dim=1), shares


def _masked_softmax(scores: Tensor, present: Tensor) -> Tensor:
    """Return shares ``(N, S)`` that sum to 1 over the sources present; zeros if none is."""
    lowest = torch.finfo(scores.dtype).min
    return torch.where(present > 0, scores, lowest).softmax(1) * present
