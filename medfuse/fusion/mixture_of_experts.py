"""Fuse by experts whose answers a gating network mixes case by case."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medfuse.fusion.presence import zeros_where_absent


class MixtureOfExpertsFusion(nn.Module):
    """Answers of several experts, mixed case by case: ``(N, width)``.

    An expert is a layer with ReLU; a gating network sees all features and its softmax weighs the
    experts (Jacobs et al., 1991, doi:10.1162/neco.1991.3.1.79). With ``experts`` 0 every source
    has an expert of its own, the gate mixes those present, and the share of a source is the weight
    of its expert. With a number, so many experts see all features side by side, and there are no
    shares.

    Unlike Shazeer et al., 2017, arXiv:1701.06538, the gate is dense: a handful of experts are all
    computed, without noise, choice of the best few or a loss that balances them. Its scores are
    bounded by ``sharpness`` and start equal.

    Args:
        in_dims: feature width of each source.
        experts: number of experts that see everything; 0 for one per source.
        width: width of the result.
        sharpness: largest score of the gate.
        dropout: fraction of features hidden from experts and gate, in training.
    """

    def __init__(
        self,
        in_dims: Sequence[int],
        experts: int = 0,
        width: int = 128,
        sharpness: float = 1.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.out_dim = width
        self.per_source = experts == 0
        self.sharpness = sharpness
        self.dropout = nn.Dropout(dropout)
        seen = list(in_dims) if self.per_source else [sum(in_dims)] * experts
        self.experts = nn.ModuleList(nn.Linear(dim, width) for dim in seen)
        self.gate = nn.Linear(sum(in_dims), len(seen))
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, features: Sequence[Tensor], mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return ``(fused (N, out_dim), shares (N, S) or None)``; no shares of joint experts."""
        known = [self.dropout(x) for x in zeros_where_absent(features, mask)]
        joined = torch.cat(known, dim=1)
        shares = self._shares(joined, mask)
        seen = known if self.per_source else [joined] * len(self.experts)
        answers = [torch.relu(expert(x)) for expert, x in zip(self.experts, seen, strict=True)]
        mixed = torch.einsum("new,ne->nw", torch.stack(answers, dim=1), shares)
        return mixed, shares if self.per_source else None

    def _shares(self, joined: Tensor, mask: Tensor) -> Tensor:
        """Return the weight of each expert ``(N, E)``: of those that see something, sum 1."""
        scores = self.sharpness * torch.tanh(self.gate(joined))
        present = (mask > 0).to(scores.dtype)
        if not self.per_source:
            present = present.amax(1, keepdim=True).expand_as(scores)
        lowest = torch.finfo(scores.dtype).min
        return torch.where(present > 0, scores, lowest).softmax(1) * present
