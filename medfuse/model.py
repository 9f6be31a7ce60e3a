"""Compose: sources -> fusion -> head, as one torch module that maps an image to logits.

This file is copied into every bundle, so it imports torch alone. All parts are handed in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class FusedNetwork(nn.Module):
    """Logits ``(N, K)`` of a canonical image ``(N, C, *spatial)`` in [0, 1].

    Args:
        sources: one module per source; each maps the image to features ``(N, F)`` or to grid
            tokens ``(N, T, F)``.
        classifier: `FeatureClassifier` or `DecisionClassifier`.
    """

    temperature: Tensor

    def __init__(self, sources: Sequence[nn.Module], classifier: nn.Module) -> None:
        super().__init__()
        self.sources = nn.ModuleList(sources)
        self.classifier = classifier
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        """Return calibrated logits ``(N, K)``; multiply by ``temperature`` for the raw ones."""
        logits: Tensor = self.classifier(self.extract(image))
        return logits / self.temperature

    def extract(self, image: Tensor) -> list[Tensor]:
        """Return the features of each source, before standardization."""
        return [source(image) for source in self.sources]

    def features(self, image: Tensor) -> Tensor:
        """Return all standardized features side by side, ``(N, sum of F)``; tokens averaged."""
        classifier: Any = self.classifier
        standardized: list[Tensor] = classifier.standardized(self.extract(image))
        return torch.cat([x.mean(1) if x.ndim == 3 else x for x in standardized], dim=1)


class Standardize(nn.Module):
    """Features with mean 0 and standard deviation 1, by statistics of the training cases.

    Args:
        dim: feature width F, the last axis.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(x - mean) / std``."""
        return (x - self.mean) / self.std

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Take the statistics from ``x`` ``(..., F)``; a constant feature keeps scale 1."""
        rows = x.reshape(-1, x.shape[-1]).double()
        self.mean.copy_(rows.mean(0))
        std = rows.std(0, correction=0)
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))


class _Classifier(nn.Module):
    """What both topologies share: standardization per source, and the presence mask."""

    def __init__(self, in_dims: Sequence[int], link: str) -> None:
        super().__init__()
        self.link = link
        self.standardize = nn.ModuleList(Standardize(dim) for dim in in_dims)

    def standardized(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the features of each source with mean 0 and standard deviation 1."""
        return [s(x) for s, x in zip(self.standardize, features, strict=True)]

    def _mask(self, features: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        if mask is not None:
            return mask
        return torch.ones_like(features[0].flatten(1)[:, :1]).expand(-1, len(features))

    def _to_class_logits(self, outputs: Tensor) -> Tensor:
        """Turn the head's outputs into K logits whose softmax (or sigmoid) is the probability."""
        if self.link == "sigmoid_pair":
            return torch.cat([torch.zeros_like(outputs), outputs], dim=-1)
        return outputs


class FeatureClassifier(_Classifier):
    """Logits of features that are fused first: standardize -> fusion -> head.

    Args:
        in_dims: feature width of each source.
        fusion: called as ``fusion(features, mask)``, returns ``(fused, shares or None)``.
        head: maps ``(N, fusion.out_dim)`` to its outputs.
        link: of the head; ``sigmoid_pair`` appends the logit 0 of the first class.
    """

    def __init__(
        self, in_dims: Sequence[int], fusion: nn.Module, head: nn.Module, link: str = "softmax"
    ) -> None:
        super().__init__(in_dims, link)
        self.fusion = fusion
        self.head = head

    def forward(self, features: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Return logits ``(N, K)``."""
        fused, _ = self.fusion(self.standardized(features), self._mask(features, mask))
        return self._to_class_logits(self.head(fused))

    def shares(self, features: Sequence[Tensor], mask: Tensor | None = None) -> Tensor | None:
        """Return how much each source counts for each case, ``(N, S)``, or ``None``."""
        shares: Tensor | None
        _, shares = self.fusion(self.standardized(features), self._mask(features, mask))
        return shares


class DecisionClassifier(_Classifier):
    """Log-probabilities of one head per source, combined.

    Args:
        in_dims: feature width of each source; tokens are averaged.
        heads: one per source, ``(N, F_s)`` to its outputs.
        combine: called as ``combine(log_probabilities (N, S, K), mask)``, returns
            ``(logits (N, K), shares or None)``.
        link: of the heads.
    """

    def __init__(
        self,
        in_dims: Sequence[int],
        heads: Sequence[nn.Module],
        combine: nn.Module,
        link: str = "softmax",
    ) -> None:
        super().__init__(in_dims, link)
        self.heads = nn.ModuleList(heads)
        self.combine = combine

    def forward(self, features: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Return log-probabilities ``(N, K)``."""
        logits: Tensor
        logits, _ = self.combine(self.decisions(features), self._mask(features, mask))
        return logits

    def decisions(self, features: Sequence[Tensor]) -> Tensor:
        """Return the log-probabilities of each source's own head, ``(N, S, K)``."""
        pooled = [x.mean(1) if x.ndim == 3 else x for x in self.standardized(features)]
        outputs = [head(x) for head, x in zip(self.heads, pooled, strict=True)]
        return torch.stack([self._to_class_logits(o).log_softmax(-1) for o in outputs], dim=1)

    def shares(self, features: Sequence[Tensor], mask: Tensor | None = None) -> Tensor | None:
        """Return how much each source counts for each case, ``(N, S)``, or ``None``."""
        shares: Tensor | None
        _, shares = self.combine(self.decisions(features), self._mask(features, mask))
        return shares


class ClassifierEnsemble(nn.Module):
    """Log of the mean probability of several classifiers, each trained on other cases.

    Args:
        members: `FeatureClassifier` or `DecisionClassifier`, all of the same sources.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, features: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Return log-probabilities ``(N, K)``."""
        logits = torch.stack([member(features, mask) for member in self.members])
        return logits.log_softmax(-1).logsumexp(0) - math.log(len(self.members))

    def standardized(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the features of each source, standardized as for the first member."""
        first: Any = self.members[0]
        standardized: list[Tensor] = first.standardized(features)
        return standardized

    def shares(self, features: Sequence[Tensor], mask: Tensor | None = None) -> Tensor | None:
        """Return how much each source counts for each case, ``(N, S)``, or ``None``."""
        members: Iterable[Any] = self.members
        shares = [member.shares(features, mask) for member in members]
        if any(share is None for share in shares):
            return None
        return torch.stack(shares).mean(0)
