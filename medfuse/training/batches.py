"""Batches of an epoch, drawn by index: no loader, no per-case work on banked features."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from medfuse.processes import Shard
from medfuse.training.activations import hide
from medfuse.training.data import TrainingData
from medfuse.training.seeds import derived_seed, generator
from medfuse.training.shared_batch import Share

_STEPS = 10
_FEWEST, _MOST = 32, 128


def batch_size_of(asked: int | Literal["auto"], cases: int, *, learns: bool) -> int:
    """Return how many cases make a batch.

    ``auto`` is a tenth of the cases, at least 32 and at most 128: of many cases ten steps an epoch
    say as much as forty and take a half of the time. It is 32 where a source learns, whose images
    have to fit into memory.

    Args:
        asked: ``training.batch_size``.
        cases: how many there are to learn from.
        learns: a source learns, from the first epoch on or later.
    """
    if asked != "auto":
        return asked
    return _FEWEST if learns else min(_MOST, max(_FEWEST, math.ceil(cases / _STEPS)))


@dataclass(frozen=True)
class Batch:
    """B cases, ready for the network.

    Attributes:
        features: per source ``(B, F)`` or ``(B, T, F)``; ``None`` where the image is used.
        images: one tensor ``(B, C, *spatial)`` for each input, NaN where a case has none; ``None``
            where no source needs them.
        mask: ``(B, S)`` presence of the sources, or ``None``.
        targets: ``(B, K)`` class probabilities to learn, or answers with NaN where unknown.
        partner: ``(B,)`` rows to mix with, or ``None`` without mixup.
        mix: the part of each row that is its own.
        activations: by source, of its frozen part; in place of the image.
        share: which rows ``images`` and ``activations`` hold; ``None`` for all of them.
    """

    features: list[Tensor | None]
    images: tuple[Tensor, ...] | None
    mask: Tensor | None
    targets: Tensor
    partner: Tensor | None = None
    mix: float = 1.0
    activations: Mapping[int, Tensor] = field(default_factory=dict)
    share: Share | None = None

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        """Return the batch on a device."""

        def move_tensor(x: Tensor) -> Tensor:
            return x.to(device, non_blocking=non_blocking)

        def move(x: Tensor | None) -> Tensor | None:
            return None if x is None else move_tensor(x)

        return replace(
            self,
            features=[move(x) for x in self.features],
            images=None if self.images is None else tuple(map(move_tensor, self.images)),
            mask=move(self.mask),
            targets=self.targets.to(device, non_blocking=non_blocking),
            partner=move(self.partner),
            activations={i: move_tensor(x) for i, x in self.activations.items()},
        )


class CaseBatches:
    """The clean view of all cases, in order; iterate as often as needed.

    Args:
        data: the cases.
        num_classes: K.
        batch_size: largest number of cases in a batch.
        shard: this process among those that share the images of each batch.
    """

    def __init__(
        self,
        data: TrainingData,
        num_classes: int,
        batch_size: int,
        shard: Shard | None = None,
    ) -> None:
        self.data = data
        self.shard = shard or Shard()
        self.num_classes = num_classes
        self.batch_size = batch_size
        self.live: frozenset[int] = _without_features(data)
        self._targets = data.targets(torch.arange(len(data)), num_classes)

    def __len__(self) -> int:
        return math.ceil(len(self.data) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for rows in torch.split(torch.arange(len(self.data)), self.batch_size):
            yield self.batch(rows, torch.zeros_like(rows))

    def batch(self, rows: Tensor, views: Tensor) -> Batch:
        """Return given views of given cases; sources in ``live`` get the image instead."""
        data = self.data
        drawn = [
            None if x is None or i in self.live else _draw(x, rows, views)
            for i, x in enumerate(data.features)
        ]
        share = Share.of(self.shard, len(rows)) if self.live and self.shard.count > 1 else None
        own, seen = (rows, views) if share is None else (rows[share.held], views[share.held])
        banked = {
            i: held.take(own if data.rows is None else data.rows[own], seen)
            for i, held in data.activations.items()
            if i in self.live and held.values is not None
        }
        images = None
        if self.live - set(banked):
            pairs = zip(own.tolist(), seen.tolist(), strict=True)
            cases = [data.images(row, view) for row, view in pairs]
            images = tuple(torch.stack(same) for same in zip(*cases, strict=True))
        mask = None if data.mask is None else data.mask[rows].float()
        return Batch(drawn, images, mask, self._targets[rows], activations=banked, share=share)


@dataclass(frozen=True)
class Draws:
    """How an epoch is drawn.

    Attributes:
        seed: of the run.
        oversample: every class as often as the largest; not for several labels per case.
        mixup: parameter of the Beta distribution; 0 mixes nothing.
        input_dropout: chance of each input of a case to be hidden; one always stays.
    """

    seed: int = 0
    oversample: bool = False
    mixup: float = 0.0
    input_dropout: float = 0.0


class EpochBatches(CaseBatches):
    """A new order and new views in every epoch, decided by (seed, ``epoch``) alone.

    Batches are of equal size up to one case, so that no tiny batch disturbs the batch norm.

    Args:
        data: the training cases.
        num_classes: K.
        batch_size: largest number of cases in a batch.
        draws: how cases are drawn.
        shard: this process among those that share the images of each batch.
    """

    def __init__(
        self,
        data: TrainingData,
        num_classes: int,
        batch_size: int,
        draws: Draws,
        shard: Shard | None = None,
    ) -> None:
        super().__init__(data, num_classes, batch_size, shard)
        self.draws = draws
        self.epoch = 1
        self._cases = len(data)
        if draws.oversample:
            counts = torch.bincount(data.labels, minlength=num_classes)
            self._cases = int(counts.max()) * int((counts > 0).sum())

    def __len__(self) -> int:
        return math.ceil(self._cases / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        source = generator(derived_seed(self.draws.seed, "batches", self.epoch))
        order = self._order(source)
        views = (torch.rand(len(order), generator=source) * self.data.views[order]).long()
        coefficients = self._coefficients()
        parts = zip(
            order.tensor_split(len(self)), views.tensor_split(len(self)), coefficients, strict=True
        )
        for rows, view, mix in parts:
            yield self._mixed(self._hidden(self.batch(rows, view), rows, source), mix, source)

    def _order(self, source: torch.Generator) -> Tensor:
        if not self.draws.oversample:
            return torch.randperm(len(self.data), generator=source)
        counts = torch.bincount(self.data.labels, minlength=self.num_classes)
        chosen = [
            _repeat_to(int(counts.max()), (self.data.labels == label).nonzero()[:, 0], source)
            for label in range(self.num_classes)
            if counts[label] > 0
        ]
        drawn = torch.cat(chosen)
        return drawn[torch.randperm(len(drawn), generator=source)]

    def _coefficients(self) -> list[float]:
        if self.draws.mixup <= 0:
            return [1.0] * len(self)
        import numpy as np

        numbers = np.random.default_rng(derived_seed(self.draws.seed, "mixup", self.epoch))
        drawn = numbers.beta(self.draws.mixup, self.draws.mixup, len(self))
        return [float(x) for x in np.maximum(drawn, 1 - drawn)]

    def _hidden(self, batch: Batch, rows: Tensor, source: torch.Generator) -> Batch:
        known = self.data.known_inputs()
        if self.draws.input_dropout <= 0 or known is None:
            return batch
        kept = keep_some(known[rows], self.draws.input_dropout, source)
        mask = kept[:, list(self.data.inputs)]
        features = [
            None if x is None else torch.where(mask[:, i].view(_column(x)) > 0, x, 0.0)
            for i, x in enumerate(batch.features)
        ]
        images, held = batch.images, slice(None) if batch.share is None else batch.share.held
        if images is not None:
            images = tuple(
                torch.where(kept[held, i].view(_column(x)) > 0, x, torch.nan)
                for i, x in enumerate(images)
            )
        banked = {i: hide(x, mask[held, i]) for i, x in batch.activations.items()}
        return replace(batch, features=features, images=images, mask=mask, activations=banked)

    def _mixed(self, batch: Batch, mix: float, source: torch.Generator) -> Batch:
        if self.draws.mixup <= 0:
            return batch
        partner = torch.randperm(len(batch.targets), generator=source)
        targets = mix * batch.targets + (1 - mix) * batch.targets[partner]
        return replace(batch, targets=targets, partner=partner, mix=mix)


def keep_some(known: Tensor, dropout: float, source: torch.Generator) -> Tensor:
    """Return ``(B, I)`` of 0 and 1: each known input hidden by chance, one of a case always kept.

    Args:
        known: ``(B, I)`` 1 where a case has an input.
        dropout: chance of being hidden.
        source: of the random numbers.
    """
    draws = torch.rand(known.shape, generator=source) * known
    kept = (draws > dropout).float() * known
    best = F.one_hot(draws.argmax(1), known.shape[1]).float() * known
    return torch.where(kept.sum(1, keepdim=True) > 0, kept, best)


def _column(x: Tensor) -> tuple[int, ...]:
    return (-1,) + (1,) * (x.ndim - 1)


def _repeat_to(count: int, rows: Tensor, source: torch.Generator) -> Tensor:
    """Return ``count`` of the rows, each as often as any other up to one."""
    rounds = math.ceil(count / len(rows))
    orders = [torch.randperm(len(rows), generator=source) for _ in range(rounds)]
    return rows[torch.cat(orders)[:count]]


def _draw(x: Tensor, rows: Tensor, views: Tensor) -> Tensor:
    """Return ``x[rows, views]`` as float32, by one index over the flattened first axes."""
    flat = rows if x.shape[1] == 1 else rows * x.shape[1] + views
    return x.flatten(0, 1).index_select(0, flat).float()


def _without_features(data: TrainingData) -> frozenset[int]:
    return frozenset(i for i, x in enumerate(data.features) if x is None)
