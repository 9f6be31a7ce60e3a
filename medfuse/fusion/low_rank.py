"""Fuse by a low-rank product of all sources."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medfuse.fusion.presence import zeros_where_absent


class LowRankFusion(nn.Module):
    """Sums and products of the projected features of all sources: ``(N, width)``.

    A linear layer on the outer product of all sources has far too many weights. Low-rank fusion
    writes it as a sum over ``rank`` products of projections, one factor per source (Liu et al.,
    2018, arXiv:1806.00064; for two sources Kim et al., 2017, arXiv:1610.04325, and with the sum
    over ranks Yu et al., 2017, arXiv:1708.01471)::

        sum over r of (product over s of (1 + tanh(U_rs x_s))) - 1

    - The 1 in every factor takes the place of the 1 that Liu et al. append to the features: the
      product holds every source alone, every pair, and so on. An absent source is a factor 1.
    - ``tanh`` bounds the factors, as in Kim et al.; the signed square root and the norm that Yu et
      al. take instead have no finite slope at 0.
    - Less 1, features at the training mean (and a case without any source) give 0.
    - The sum over ranks is divided by the root of ``rank``, so that its spread does not grow.

    A product has no parts that add up to it, so there are no shares.

    Args:
        in_dims: feature width of each source.
        width: width of the result.
        rank: products that are added up.
        dropout: fraction of features hidden from the projections, in training.
    """

    def __init__(
        self, in_dims: Sequence[int], width: int = 64, rank: int = 4, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.out_dim = width
        self.rank = rank
        self.dropout = nn.Dropout(dropout)
        self.projections = nn.ModuleList(nn.Linear(d, rank * width, bias=False) for d in in_dims)

    def forward(self, features: Sequence[Tensor], mask: Tensor) -> tuple[Tensor, None]:
        """Return ``(fused (N, out_dim), None)``."""
        factors = []
        for project, x in zip(self.projections, zeros_where_absent(features, mask), strict=True):
            factors.append(1.0 + torch.tanh(project(self.dropout(x))))
        products = torch.stack(factors).prod(0) - 1.0
        summed = torch.unflatten(products, 1, (self.rank, self.out_dim)).sum(1)
        return summed / self.rank**0.5, None
