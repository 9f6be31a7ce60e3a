"""Fuse by writing the features of all sources side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medfuse.fusion.presence import zeros_where_absent


class ConcatFusion(nn.Module):
    """All features of all sources, ``(N, sum of F_s)``; zeros where a source is absent.

    Standardized features have mean 0 over the training cases, so zeros say "as usual".

    Args:
        in_dims: feature width of each source.
    """

    def __init__(self, in_dims: Sequence[int]) -> None:
        super().__init__()
        self.out_dim = sum(in_dims)

    def forward(self, features: Sequence[Tensor], mask: Tensor) -> tuple[Tensor, None]:
        """Return ``(fused (N, out_dim), None)``."""
        return torch.cat(zeros_where_absent(features, mask), dim=1), None
