"""Fuse by multi-head attention over the spatial tokens of all sources."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfuse.fusion.presence import zeros_where_absent


class AttentionMapsFusion(nn.Module):
    """Feature maps pooled by attention that all sources share: ``(N, sum of F_s)``.

    Every grid token of every source has a key; every head has a learned query, and its softmax
    over all tokens of all sources pools its part of the channels (Vaswani et al., 2017,
    arXiv:1706.03762; queries and keys normalized as in Henry et al., 2020, arXiv:2010.04245).
    The values are the features themselves, pooled per source and written side by side, so that
    equal attention is average pooling and concatenation. Sources start with equal shares whatever
    the size of their grids.

    The share of a source is the attention on its tokens, averaged over the heads.

    Args:
        in_dims: feature width of each source.
        heads: number of heads; channels of every source are divided among them.
        width: width of the keys, a multiple of ``heads``.
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
            raise ValueError(f"attention_maps: width {width} is not a multiple of heads {heads}.")
        self.out_dim = sum(in_dims)
        self.heads = heads
        self.sharpness = sharpness
        self.dropout = nn.Dropout(dropout)
        self.keys = nn.ModuleList(nn.Linear(dim, width) for dim in in_dims)
        self.query = nn.Parameter(torch.randn(heads, width // heads))
        for i, dim in enumerate(in_dims):
            channels = torch.arange(dim) * heads // dim
            self.register_buffer(f"head_of_{i}", channels, persistent=False)

    def forward(self, features: Sequence[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(fused (N, out_dim), shares (N, S))`` of tokens ``(N, T_s, F_s)``."""
        present = (mask > 0).to(self.query.dtype)
        known = zeros_where_absent(features, mask)
        sizes = [x.shape[1] for x in known]
        attention = torch.split(self._attention(known, present), sizes, dim=2)
        count = present.sum(1)[:, None, None]
        pooled = []
        for i, (x, weights) in enumerate(zip(known, attention, strict=True)):
            channels = self.get_buffer(f"head_of_{i}")
            by_channel = (weights * count).index_select(1, channels)
            pooled.append(torch.einsum("ntf,nft->nf", x, by_channel))
        shares = torch.stack([weights.sum(2).mean(1) for weights in attention], dim=1)
        return torch.cat(pooled, dim=1), shares

    def _attention(self, known: Sequence[Tensor], present: Tensor) -> Tensor:
        """Return ``(N, heads, sum of T_s)``; zeros on absent sources, else sums to 1."""
        query = F.normalize(self.query, dim=-1)
        parts, allowed = [], []
        for i, (key, x) in enumerate(zip(self.keys, known, strict=True)):
            keys = F.normalize(torch.unflatten(key(self.dropout(x)), 2, (self.heads, -1)), dim=-1)
            scores = self.sharpness * torch.einsum("nthc,hc->nht", keys, query)
            ones = torch.ones_like(x[:, :, 0]).unsqueeze(1)  # of scores, ONNX would fix their batch
            parts.append(scores - ones.sum(2, keepdim=True).log())
            allowed.append(ones * present[:, i, None, None])
        scores, presence = torch.cat(parts, 2), torch.cat(allowed, 2)
        lowest = torch.finfo(scores.dtype).min
        return torch.where(presence > 0, scores, lowest).softmax(-1) * presence
