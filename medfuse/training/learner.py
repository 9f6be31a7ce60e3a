"""The module that the engines train: a classifier, and the sources that learn with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, Protocol, cast

import torch
from torch import Tensor, nn

from medfuse.errors import TrainingError
from medfuse.fusion.opinion_pool import OpinionPool
from medfuse.model import (
    DecisionClassifier,
    FeatureClassifier,
    FusedNetwork,
    features_where_present,
)
from medfuse.training.activations import Activations
from medfuse.training.batches import Batch
from medfuse.training.data import TrainingData
from medfuse.training.feature_scale import feature_scale


class LearningSource(Protocol):
    """A source whose parameters can be freed."""

    def set_trainable(self, paths: Sequence[str] | Literal["all"]) -> object:
        """Let the parameters of these submodules learn, and no others."""


class Learner(nn.Module):
    """Logits of a `Batch`, from banked features where there are some and else from the image.

    In training a `DecisionClassifier` or an `OpinionPool` gives the logits of every head,
    ``(N, heads, K)``; otherwise the result is ``(N, K)``.

    Args:
        model: `FeatureClassifier`, `DecisionClassifier`, or `FusedNetwork` with learning sources.
        used: indices of the sources that compute features from the image at some time.
        activations: by source, of its frozen part; features are computed from them instead.
    """

    def __init__(
        self,
        model: nn.Module,
        used: frozenset[int] = frozenset(),
        activations: Mapping[int, Activations] | None = None,
    ) -> None:
        super().__init__()
        network = model if isinstance(model, FusedNetwork) else None
        classifier = network.classifier if network is not None else model
        self.classifier = cast("FeatureClassifier | DecisionClassifier | OpinionPool", classifier)
        chosen = {str(i): network.sources[i] for i in sorted(used)} if network is not None else {}
        self.sources = nn.ModuleDict(chosen)
        self.inputs = network.inputs if network is not None else ()
        # In a plain mapping, so that what they share with the sources is not registered twice.
        self._upper = {
            i: banked.features_of(self.sources[str(i)])
            for i, banked in (activations or {}).items()
            if i in used
        }
        self._lower = {
            i: part.of_images(self.sources[str(i)])
            for i, part in (activations or {}).items()
            if i in used and part.values is None
        }

    def forward(self, batch: Batch) -> Tensor:
        """Return logits ``(N, K)``, or ``(N, heads, K)`` in training."""
        features = self._mixed(self.features(batch), batch)
        if self.training and isinstance(self.classifier, DecisionClassifier):
            return _only_present(self.classifier.decisions(features), _mixed_mask(batch))
        if self.training and isinstance(self.classifier, OpinionPool):
            return self.classifier.opinions(features, _mixed_mask(batch))
        logits: Tensor = self.classifier(features, _mixed_mask(batch))
        return logits

    def features(self, batch: Batch) -> list[Tensor]:
        """Return the features of each source, before standardization."""
        return [x if x is not None else self._live(i, batch) for i, x in enumerate(batch.features)]

    def _live(self, source: int, batch: Batch) -> Tensor:
        if source in self._upper:
            module, x = self._upper[source], self._activations(source, batch)
            module.training = self.training
            all_there = batch.mask is None
        else:
            module, images = self.sources[str(source)], cast("Sequence[Tensor]", batch.images)
            all_there = len(images) == 1
            x = images[0] if all_there else images[self.inputs[source]]
        if batch.share is not None:
            known = None if all_there else batch.mask
            present = None if known is None else known[:, source] > 0
            return batch.share.features(module, x, present)
        return cast("Tensor", module(x)) if all_there else features_where_present(module, x)

    def _activations(self, source: int, batch: Batch) -> Tensor:
        if source in batch.activations:
            return batch.activations[source]
        images = cast("Sequence[Tensor]", batch.images)
        return self._lower[source](images[self.inputs[source]])

    def classifier_parameters(self) -> list[nn.Parameter]:
        """Return what gradients train; a combiner of decisions is fitted afterwards.

        Raises:
            TrainingError: fusion and head have no weights.
        """
        apart: Iterator[nn.Parameter] = iter(())
        if isinstance(self.classifier, DecisionClassifier):
            apart = self.classifier.combine.parameters()
        excluded = {id(p) for p in apart}
        found = [
            p for p in self.classifier.parameters() if p.requires_grad and id(p) not in excluded
        ]
        if not found:
            raise TrainingError(
                "the fusion and the head have no weights that could be trained. Choose others, for "
                "example the head mlp, or let the plugin's module hold parameters."
            )
        return found

    @torch.no_grad()
    def standardize(self, data: TrainingData, batches: Iterable[Batch]) -> None:
        """Fit mean and scale (`feature_scale`) of every source on the clean views of ``data``.

        A source that learns computes them as it will in training: the batch statistics of an
        untrained network are far from its stored ones, which this pass also brings near.

        Args:
            data: the training cases.
            batches: their clean views, needed where a source has no banked features.
        """
        self.train()
        for i, (part, banked) in enumerate(
            zip(self.classifier.standardize, data.features, strict=True)
        ):
            if banked is not None:
                x = banked[:, 0]
            else:
                device = next(self.parameters()).device
                x = torch.cat([self._live(i, batch.to(device)) for batch in batches])
            present = slice(None) if data.mask is None else data.mask[:, i] > 0
            part.fit(x[present], feature_scale(x[present]))

    def _mixed(self, features: list[Tensor], batch: Batch) -> list[Tensor]:
        if batch.partner is None:
            return features
        return [torch.lerp(x[batch.partner], x, batch.mix) for x in features]


def _only_present(decisions: Tensor, mask: Tensor | None) -> Tensor:
    """Return the decisions; a head learns nothing from a case without its input."""
    if mask is None:
        return decisions
    return torch.where(mask[:, :, None] > 0, decisions, decisions.detach())


def _mixed_mask(batch: Batch) -> Tensor | None:
    """Return the mask; a mixed case has the sources that both of its parts have."""
    if batch.mask is None or batch.partner is None:
        return batch.mask
    return batch.mask * batch.mask[batch.partner]
