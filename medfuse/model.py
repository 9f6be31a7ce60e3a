"""Compose: sources -> fusion -> head, as one torch module that maps an image to logits.

This file is copied into every bundle, so it imports torch alone. All parts are handed in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEAST_GAP = 1e-6  # between thresholds that coincide: the grade between them is never impossible


class FusedNetwork(nn.Module):
    """Logits ``(N, K)`` of canonical images in [0, 1], one tensor per input of a case.

    An image is ``(N, C, *spatial)``, a table row ``(N, P)``. Where several inputs are read, one
    that a case does not have is a tensor of NaN: its sources are masked, never guessed. A single
    input must be there.

    Args:
        sources: one module per source; each maps its input to features ``(N, F)``, to grid tokens
            ``(N, T, F)``, or to one vector per slice ``(N, D, F)``.
        classifier: `FeatureClassifier`, `DecisionClassifier` or `ClassifierEnsemble`.
        inputs: position of the input that each source reads; all read the first if ``None``.
        calibration: maps logits ``(N, K)`` to calibrated ones, after the temperature.
    """

    temperature: Tensor

    def __init__(
        self,
        sources: Sequence[nn.Module],
        classifier: nn.Module,
        inputs: Sequence[int] | None = None,
        calibration: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.sources = nn.ModuleList(sources)
        self.classifier = classifier
        self.inputs = tuple(inputs) if inputs is not None else (0,) * len(sources)
        self.register_buffer("temperature", torch.ones(()))
        self.calibration = calibration

    def forward(self, *images: Tensor) -> Tensor:
        """Return calibrated logits ``(N, K)``; the raw ones are those of ``classifier``."""
        return self.calibrated(self.classifier(self.extract(*images), self.present(*images)))

    def with_features(self, *images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what ``forward`` and ``features`` do, of one pass through the sources."""
        extracted, mask = self.extract(*images), self.present(*images)
        logits = self.calibrated(self.classifier(extracted, mask))
        return logits, self._side_by_side(extracted, mask)

    def calibrated(self, logits: Tensor) -> Tensor:
        """Return what the network says for logits ``(N, K)`` of its classifier.

        In training a map is left out: where it is flat, nothing would be learned.
        """
        scaled = logits / self.temperature
        if self.calibration is None or self.training:
            return scaled
        mapped: Tensor = self.calibration(scaled)
        return mapped

    def extract(self, *images: Tensor) -> list[Tensor]:
        """Return the features of each source, before standardization; 0 for a missing input."""
        if len(images) == 1:
            return [source(images[0]) for source in self.sources]
        pairs = zip(self.sources, self.inputs, strict=True)
        return [features_where_present(source, images[i]) for source, i in pairs]

    def present(self, *images: Tensor) -> Tensor | None:
        """Return which sources have their input, ``(N, S)`` of 0 and 1; ``None`` of one input."""
        if len(images) == 1:
            return None
        known = [is_present(image) for image in images]
        return torch.stack([known[i] for i in self.inputs], dim=1).to(images[0].dtype)

    def features(self, *images: Tensor) -> Tensor:
        """Return all standardized features side by side, ``(N, sum of F)``; tokens averaged.

        Features of a missing input are 0, the mean of the training cases.
        """
        return self._side_by_side(self.extract(*images), self.present(*images))

    def _side_by_side(self, extracted: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        classifier: Any = self.classifier
        standardized: list[Tensor] = classifier.standardized(extracted)
        vectors = [x.mean(1) if x.ndim == 3 else x for x in standardized]
        if mask is not None:
            vectors = [torch.where(mask[:, i, None] > 0, x, 0.0) for i, x in enumerate(vectors)]
        return torch.cat(vectors, dim=1)


def is_present(image: Tensor) -> Tensor:
    """Return which cases have an input, ``(N,)``: those without a NaN in it."""
    return ~torch.isnan(image).flatten(1).any(1)


def features_where_present(source: nn.Module, image: Tensor) -> Tensor:
    """Return the features of the cases that have the input, and zeros for the others.

    In training the others do not reach the source at all: they would enter its batch statistics.
    """
    present = is_present(image)
    if source.training and bool(present.any()) and not bool(present.all()):
        known: Tensor = source(image[present])
        features = known.new_zeros((len(image), *known.shape[1:]))
        return features.index_put((present,), known)
    axes = (-1,) + (1,) * (image.ndim - 1)
    filled: Tensor = source(torch.where(present.view(axes), image, 0.0))
    return torch.where(present.view((-1,) + (1,) * (filled.ndim - 1)), filled, 0.0)


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
    def fit(self, x: Tensor, std: Tensor | None = None) -> None:
        """Take the statistics from ``x`` ``(..., F)``; a constant feature keeps scale 1.

        Args:
            x: features.
            std: ``(F,)`` in place of that of ``x``.
        """
        rows = x.reshape(-1, x.shape[-1]).double()
        self.mean.copy_(rows.mean(0))
        if std is None:
            std = rows.std(0, correction=0)
        self.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))


def coral_log_probabilities(outputs: Tensor) -> Tensor:
    """Return log-probabilities ``(N, K)`` of grades from the logits ``(N, K - 1)`` of being above.

    The logit of being above a grade counts as no larger than that of any grade below it, so that
    no probability is negative; ordered logits stay as they are. With logits a >= b of two
    neighboring grades, ``sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a))``.
    """
    above: list[Tensor] = []
    for logit in outputs.unbind(-1):
        above.append(torch.minimum(above[-1], logit) if above else logit)
    between = [
        _log_sigmoid(a) + _log_sigmoid(-b) + _log_rest(a - b + _LEAST_GAP)
        for a, b in pairwise(above)
    ]
    return torch.stack([_log_sigmoid(-above[0]), *between, _log_sigmoid(above[-1])], dim=-1)


def _log_rest(x: Tensor) -> Tensor:
    """Return ``log(1 - exp(-x))`` of x > 0, as exact near 0, by operators that ONNX has."""
    half = torch.tanh(x / 2)
    return torch.log(2 * half / (1 + half))


def corn_log_probabilities(outputs: Tensor) -> Tensor:
    """Return log-probabilities ``(N, K)`` of grades from the logits ``(N, K - 1)`` of the steps.

    Step k is being above grade k, for a case that is above all grades before it.
    """
    reached = torch.zeros_like(outputs[..., 0])
    parts = []
    for logit in outputs.unbind(-1):
        parts.append(reached + _log_sigmoid(-logit))
        reached = reached + _log_sigmoid(logit)
    return torch.stack([*parts, reached], dim=-1)


def _log_sigmoid(x: Tensor) -> Tensor:
    """Return what ``F.logsigmoid`` does, which ONNX writes as Log(Sigmoid): -inf far below 0."""
    return -F.softplus(-x)


def combine_labels(
    combine: nn.Module, log_odds: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Return combined log-odds ``(N, L)`` and shares ``(N, S)``: each label is a choice of two.

    Args:
        combine: of two classes; called with log-probabilities ``(N L, S, 2)`` and the mask of
            each, it treats all labels alike.
        log_odds: ``(N, S, L)`` of what each source says.
        mask: ``(N, S)`` presence of the sources.
    """
    sources, labels = log_odds.shape[1], log_odds.shape[2]
    odds = log_odds.transpose(1, 2).reshape(-1, sources)
    pairs = torch.stack([_log_sigmoid(-odds), _log_sigmoid(odds)], dim=-1)
    rows = mask[:, None, :].expand(-1, labels, -1).reshape(-1, sources)
    logits, shares = combine(pairs, rows)
    combined = (logits[:, 1] - logits[:, 0]).reshape(-1, labels)
    return combined, None if shares is None else shares.reshape(-1, labels, sources).mean(1)


class _Classifier(nn.Module):
    """What both topologies share: standardization per source, and the presence mask."""

    def __init__(
        self, in_dims: Sequence[int], link: str, pooling: Sequence[nn.Module | None] = ()
    ) -> None:
        super().__init__()
        self.link = link
        self.standardize = nn.ModuleList(Standardize(dim) for dim in in_dims)
        pools = pooling or [None] * len(in_dims)
        self.pooling = nn.ModuleList(nn.Identity() if p is None else p for p in pools)

    def standardized(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the features of each source with mean 0 and standard deviation 1, slices pooled.

        Slices are standardized before they are pooled, so that no feature rules by its scale.
        """
        parts = zip(self.standardize, self.pooling, features, strict=True)
        return [pool(scale(x)) for scale, pool, x in parts]

    def slice_weights(self, features: Sequence[Tensor]) -> list[Tensor | None]:
        """Return how much each slice counts, ``(N, D)`` summing to 1; ``None`` where none is."""
        found: list[Tensor | None] = []
        for scale, pool, x in zip(self.standardize, self.pooling, features, strict=True):
            module: Any = pool
            found.append(None if isinstance(pool, nn.Identity) else module.weights(scale(x)))
        return found

    def _mask(self, features: Sequence[Tensor], mask: Tensor | None) -> Tensor:
        if mask is not None:
            return mask
        return torch.ones_like(features[0].flatten(1)[:, :1]).expand(-1, len(features))

    def _to_class_logits(self, outputs: Tensor) -> Tensor:
        """Turn the head's outputs into K logits whose softmax (or sigmoid) is the probability."""
        if self.link == "sigmoid_pair":
            return torch.cat([torch.zeros_like(outputs), outputs], dim=-1)
        if self.link == "coral":
            return coral_log_probabilities(outputs)
        if self.link == "corn":
            return corn_log_probabilities(outputs)
        return outputs


class FeatureClassifier(_Classifier):
    """Logits of features that are fused first: standardize -> fusion -> head.

    Args:
        in_dims: feature width of each source.
        fusion: called as ``fusion(features, mask)``, returns ``(fused, shares or None)``.
        head: maps ``(N, fusion.out_dim)`` to its outputs.
        link: of the head; ``sigmoid_pair`` puts the logit 0 of the first class in front, ``coral``
            and ``corn`` turn K - 1 logits into K log-probabilities.
        pooling: per source, what makes one vector of the slices ``(N, D, F)``, or ``None``.
    """

    def __init__(
        self,
        in_dims: Sequence[int],
        fusion: nn.Module,
        head: nn.Module,
        link: str = "softmax",
        pooling: Sequence[nn.Module | None] = (),
    ) -> None:
        super().__init__(in_dims, link, pooling)
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
    """Log-probabilities of one head per source, combined; with link ``sigmoid`` log-odds.

    Args:
        in_dims: feature width of each source; tokens are averaged.
        heads: one per source, ``(N, F_s)`` to its outputs.
        combine: called as ``combine(log_probabilities (N, S, K), mask)``, returns
            ``(logits (N, K), shares or None)``.
        link: of the heads.
        pooling: per source, what makes one vector of the slices ``(N, D, F)``, or ``None``.
    """

    def __init__(
        self,
        in_dims: Sequence[int],
        heads: Sequence[nn.Module],
        combine: nn.Module,
        link: str = "softmax",
        pooling: Sequence[nn.Module | None] = (),
    ) -> None:
        super().__init__(in_dims, link, pooling)
        self.heads = nn.ModuleList(heads)
        self.combine = combine

    def forward(self, features: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Return log-probabilities ``(N, K)``; of labels log-odds ``(N, L)``."""
        logits, _ = self._combined(features, mask)
        return logits

    def decisions(self, features: Sequence[Tensor]) -> Tensor:
        """Return what each source's own head says: log-probabilities ``(N, S, K)``, or log-odds
        ``(N, S, L)`` of labels.
        """
        pooled = [x.mean(1) if x.ndim == 3 else x for x in self.standardized(features)]
        outputs = [head(x) for head, x in zip(self.heads, pooled, strict=True)]
        logits = torch.stack([self._to_class_logits(o) for o in outputs], dim=1)
        return logits if self.link == "sigmoid" else logits.log_softmax(-1)

    def _combined(
        self, features: Sequence[Tensor], mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        decisions, present = self.decisions(features), self._mask(features, mask)
        if self.link == "sigmoid":
            return combine_labels(self.combine, decisions, present)
        logits, shares = self.combine(decisions, present)
        return logits, shares

    def shares(self, features: Sequence[Tensor], mask: Tensor | None = None) -> Tensor | None:
        """Return how much each source counts for each case, ``(N, S)``, or ``None``."""
        return self._combined(features, mask)[1]


class ClassifierEnsemble(nn.Module):
    """Log of the mean probability of several classifiers, each trained on other cases.

    Args:
        members: `FeatureClassifier` or `DecisionClassifier`, all of the same sources.
        link: ``sigmoid`` for labels, whose probabilities are averaged one by one.
    """

    def __init__(self, members: Sequence[nn.Module], link: str = "softmax") -> None:
        super().__init__()
        self.link = link
        self.members = nn.ModuleList(members)

    def forward(self, features: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Return log-probabilities ``(N, K)``; of labels log-odds ``(N, L)``."""
        logits = torch.stack([member(features, mask) for member in self.members])
        if self.link == "sigmoid":
            held, absent = (_log_sigmoid(x).logsumexp(0) for x in (logits, -logits))
            return held - absent
        return logits.log_softmax(-1).logsumexp(0) - math.log(len(self.members))

    def standardized(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the features of each source, standardized as for the first member."""
        first: Any = self.members[0]
        standardized: list[Tensor] = first.standardized(features)
        return standardized

    def slice_weights(self, features: Sequence[Tensor]) -> list[Tensor | None]:
        """Return how much each slice counts, ``(N, D)``: the mean over the members."""
        members: Iterable[Any] = self.members
        each = zip(*[member.slice_weights(features) for member in members], strict=True)
        return [None if found[0] is None else torch.stack(found).mean(0) for found in each]

    def shares(self, features: Sequence[Tensor], mask: Tensor | None = None) -> Tensor | None:
        """Return how much each source counts for each case, ``(N, S)``, or ``None``."""
        members: Iterable[Any] = self.members
        shares = [member.shares(features, mask) for member in members]
        if any(share is None for share in shares):
            return None
        return torch.stack(shares).mean(0)
