"""Batches of views, drawn anew in every epoch from (seed, epoch, image) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medfuse.features.ahead import map_ahead
from medfuse.pretraining.pool import Pool
from medfuse.pretraining.settings import ViewSettings
from medfuse.pretraining.views import draw_views
from medfuse.threads import workers_of
from medfuse.training.seeds import derived_seed, generator

_WORKERS = 2


@dataclass(frozen=True)
class Drawing:
    """How views are drawn.

    Attributes:
        settings: how far they differ.
        size: ``(H, W)`` or ``(H, W, D)``.
        views: of each image in a batch.
        seed: of the pretraining.
    """

    settings: ViewSettings
    size: tuple[int, ...]
    views: int = 2
    seed: int = 0


class Batch(NamedTuple):
    """Views ``(N, views, C, *size)`` and labels ``(N,)``; -1 where there is none."""

    views: Tensor
    labels: Tensor


class ViewBatches:
    """Iterable of `Batch` in the order of an epoch; N is always the same.

    The images that would make a smaller last batch wait for another epoch: each is drawn in the
    long run equally often.

    Args:
        pool: the images.
        batch_size: N; all images where there are fewer.
        drawing: how views are drawn.
        labels: of each image; none by default.

    Attributes:
        epoch: which epoch the next iteration is.
        begun: how many of its batches the next iteration leaves out, once.
    """

    def __init__(
        self, pool: Pool, batch_size: int, drawing: Drawing, labels: Sequence[int] = ()
    ) -> None:
        self._pool = pool
        self._drawing = drawing
        self._labels = torch.tensor(labels or [-1] * len(pool))
        self.batch_size = min(batch_size, len(pool))
        self.epoch, self.begun = 1, 0

    def __len__(self) -> int:
        return len(self._pool) // self.batch_size

    def __iter__(self) -> Iterator[Batch]:
        source = generator(derived_seed(self._drawing.seed, "pretraining", self.epoch))
        order = torch.randperm(len(self._pool), generator=source).tolist()
        batches = [order[i * self.batch_size :][: self.batch_size] for i in range(len(self))]
        batches, self.begun, epoch = batches[self.begun :], 0, self.epoch
        with workers_of() as begin:
            yield from map_ahead(
                lambda rows: self._batch(rows, epoch), batches, _WORKERS, _WORKERS, begin
            )

    def _batch(self, rows: Sequence[int], epoch: int) -> Batch:
        drawing = self._drawing
        images = self._pool.images(rows).repeat_interleave(drawing.views, 0)
        randoms = [
            np.random.default_rng(derived_seed(drawing.seed, epoch, view, self._pool.digests[row]))
            for row in rows
            for view in range(drawing.views)
        ]
        views = draw_views(images, drawing.size, drawing.settings, randoms)
        paired = views.view(len(rows), drawing.views, *views.shape[1:])
        return Batch(paired, self._labels[list(rows)])
