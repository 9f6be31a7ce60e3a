"""Weigh the opinion of a fused classifier against those of its sources alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class OpinionPool(nn.Module):
    """Log-probabilities ``(N, K)``: of the fused features and of each source, added by weight.

    Of several labels per case they are log-odds ``(N, L)``.

    A logarithmic opinion pool (Genest and Zidek, 1986, doi:10.1214/ss/1177013825). The fused
    classifier sees how sources act together, but learns from the most features; the head of a
    single source sees less and is surer of it. Their errors differ, so that the pool is better
    than each. The weights are fitted on cases held out of training and start equal.

    Args:
        fused: `FeatureClassifier` of all sources.
        heads: one per source, ``(N, F_s)`` to its outputs.
    """

    weights: Tensor

    def __init__(self, fused: nn.Module, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.fused = fused
        self.heads = nn.ModuleList(heads)
        count = len(self.heads) + 1
        self.register_buffer("weights", torch.full((count,), 1.0 / count))

    @property
    def standardize(self) -> Any:
        """The standardization of each source."""
        return self.fused.standardize

    def standardized(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the features of each source with mean 0 and standard deviation 1."""
        fused: Any = self.fused
        standardized: list[Tensor] = fused.standardized(features)
        return standardized

    def slice_weights(self, features: Sequence[Tensor]) -> list[Tensor | None]:
        """Return how much each slice counts, ``(N, D)`` summing to 1; ``None`` where none is."""
        fused: Any = self.fused
        weights: list[Tensor | None] = fused.slice_weights(features)
        return weights

    def forward(self, features: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Return log-probabilities ``(N, K)``, or log-odds ``(N, L)`` of labels.

        The opinion of an absent source does not count.
        """
        opinions = self.opinions(features, mask)
        pooled = (opinions * self._weights(opinions.dtype, mask)[:, :, None]).sum(1)
        return self._normalized(pooled)

    def opinions(self, features: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Return log-probabilities or log-odds ``(N, 1 + S, K)``: of the fused features, then of
        each source.

        No gradient comes from a case to the head of a source that it lacks.
        """
        fused: Any = self.fused
        said = [fused(features, mask)]
        pooled = [x.mean(1) if x.ndim == 3 else x for x in self.standardized(features)]
        for i, (head, x) in enumerate(zip(self.heads, pooled, strict=True)):
            known = x if mask is None else torch.where(mask[:, i, None] > 0, x, 0.0)
            alone = fused._to_class_logits(head(known))
            if mask is not None:
                alone = torch.where(mask[:, i, None] > 0, alone, alone.detach())
            said.append(alone)
        return self._normalized(torch.stack(said, dim=1))

    def shares(self, features: Sequence[Tensor], mask: Tensor | None = None) -> Tensor | None:
        """Return how much each source counts, within the fused opinion and alone, ``(N, S)``."""
        fused: Any = self.fused
        within: Tensor | None = fused.shares(features, mask)
        if within is None:
            return None
        weights = self._weights(within.dtype, mask)
        shares = weights[:, :1] * within + weights[:, 1:]
        return shares / shares.sum(1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)

    def _normalized(self, logits: Tensor) -> Tensor:
        """Log-odds stay: added by weight they are those of the pooled choice of two."""
        return logits if self.fused.link == "sigmoid" else logits.log_softmax(-1)

    def _weights(self, dtype: torch.dtype, mask: Tensor | None) -> Tensor:
        """Return ``(N, 1 + S)``: what is absent weighs nothing, what is left the same in all.

        One row for all cases where nothing is known to be absent.
        """
        weights = self.weights.to(dtype)[None]
        if mask is None:
            return weights
        present = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1) > 0
        left = torch.where(present, weights, 0.0)
        return left * self.weights.sum() / left.sum(1, keepdim=True).clamp(min=1e-6)
