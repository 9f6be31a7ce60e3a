"""Fuse by multi-head attention with one token per source."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfuse.fusion.presence import zeros_where_absent


class AttentionFusion(nn.Module):
    """Features weighed case by case by several attention heads: ``(N, sum of F_s)``.

    Every source is projected to one token, the key; every head has a learned query, and its
    softmax over the sources weighs its part of the channels (Vaswani et al., 2017,
    arXiv:1706.03762). Two deviations serve a few hundred cases:

    - Queries and keys are normalized (Henry et al., 2020, arXiv:2010.04245), which bounds how
      sharply a case can choose: a score lies within ``+-sharpness``.
    - The values are the features themselves, weighed by ``attention * sources present`` and
      written side by side rather than summed. Equal attention is plain concatenation, and nothing
      is lost that the sources know.

    The share of a source is its attention averaged over the heads.

    Args:
        in_dims: feature width of each source.
        heads: number of heads; channels of every source are divided among them.
        width: width of the tokens, a multiple of ``heads``.
        sharpness: largest score.
        dropout: fraction of features hidden from the keys, in training.

    Raises:
        ValueError: ``width`` is not a multiple of ``heads``.
    """

    def __init__(
        self,
        in_dims: Sequence[int],
        heads: int = 4,
        width: int = 32,
        sharpness: float = 0.25,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"attention: width {width} is not a multiple of heads {heads}.")
        self.out_dim = sum(in_dims)
        self.heads = heads
        self.sharpness = sharpness
        self.dropout = nn.Dropout(dropout)
        self.keys = nn.ModuleList(nn.Linear(dim, width) for dim in in_dims)
        self.query = nn.Parameter(torch.randn(heads, width // heads))
        # Head h has the channels c with floor(c heads / dim) = h.
        self.channels = [
            torch.bincount(torch.arange(dim) * heads // dim, minlength=heads).tolist()
            for dim in in_dims
        ]

    def forward(self, features: Sequence[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(fused (N, out_dim), shares (N, S))``."""
        present = (mask > 0).to(self.query.dtype)
        known = zeros_where_absent(features, mask)
        attention = self._attention(known, present)
        scale = attention * present.sum(1)[:, None, None]
        weighed = [self._weighed(x, scale[:, :, i], i) for i, x in enumerate(known)]
        return torch.cat(weighed, dim=1), attention.mean(1)

    def _weighed(self, x: Tensor, scale: Tensor, source: int) -> Tensor:
        """Return features ``(N, F)``, the channels of each head times its ``scale (N, heads)``."""
        counts = self.channels[source]
        if min(counts) == max(counts):
            return (torch.unflatten(x, 1, (self.heads, -1)) * scale[:, :, None]).flatten(1)
        parts = torch.split(x, counts, dim=1)
        return torch.cat([part * scale[:, h, None] for h, part in enumerate(parts)], dim=1)

    def _attention(self, known: Sequence[Tensor], present: Tensor) -> Tensor:
        """Return ``(N, heads, S)``; sums to 1 over the sources present, zeros if none is."""
        tokens = torch.stack(
            [key(self.dropout(x)) for key, x in zip(self.keys, known, strict=True)], dim=1
        )
        keys = F.normalize(torch.unflatten(tokens, 2, (self.heads, -1)), dim=-1)
        query = F.normalize(self.query, dim=-1)
        scores = self.sharpness * torch.einsum("nshc,hc->nhs", keys, query)
        lowest = torch.finfo(scores.dtype).min
        allowed = present[:, None, :]
        return torch.where(allowed > 0, scores, lowest).softmax(-1) * allowed
