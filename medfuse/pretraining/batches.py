"""Batches of views, drawn anew in every epoch from (seed, epoch, image) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medfuse.features.ahead import map_ahead
from medfuse.pretraining.pool import Pool
from medfuse.pretraining.settings import ViewSettings
from medfuse.pretraining.views import draw_view
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


class ViewBatches:
    """Iterable of ``(N, views, C, *size)`` in the order of an epoch; N is always the same.

    The images that would make a smaller last batch wait for another epoch: each is drawn in the
    long run equally often.

    Args:
        pool: the images.
        batch_size: N; all images where there are fewer.
        drawing: how views are drawn.

    Attributes:
        epoch: which epoch the next iteration is.
    """

    def __init__(self, pool: Pool, batch_size: int, drawing: Drawing) -> None:
        self._pool = pool
        self._drawing = drawing
        self.batch_size = min(batch_size, len(pool))
        self.epoch = 1

    def __len__(self) -> int:
        return len(self._pool) // self.batch_size

    def __iter__(self) -> Iterator[Tensor]:
        source = generator(derived_seed(self._drawing.seed, "pretraining", self.epoch))
        order = torch.randperm(len(self._pool), generator=source).tolist()
        batches = [order[i * self.batch_size :][: self.batch_size] for i in range(len(self))]
        epoch = self.epoch
        with workers_of() as begin:
            yield from map_ahead(
                lambda rows: self._batch(rows, epoch), batches, _WORKERS, _WORKERS, begin
            )

    def _batch(self, rows: Sequence[int], epoch: int) -> Tensor:
        return torch.stack([self._views(row, epoch) for row in rows])

    def _views(self, row: int, epoch: int) -> Tensor:
        image, drawing = self._pool.image(row), self._drawing
        name = self._pool.digests[row]
        drawn = []
        for view in range(drawing.views):
            random = np.random.RandomState(derived_seed(drawing.seed, epoch, view, name))
            drawn.append(draw_view(image, drawing.size, drawing.settings, random))
        return torch.stack(drawn)
