"""Cases in memory: banked features of every view, labels, patients."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from medfuse.errors import TrainingError

Features = Sequence["Tensor | np.ndarray | None"]


@dataclass(frozen=True)
class TrainingData:
    """N cases with the features of S sources; make it with `TrainingData.of`.

    Attributes:
        features: per source ``(N, 1 + V, F)`` or tokens ``(N, 1 + V, T, F)``, view 0 clean;
            ``None`` for a source that is computed from the image.
        labels: ``(N,)`` class indices.
        views: ``(N,)`` how many views of a case exist, at least 1.
        groups: ``(N,)`` patient of each case, as numbers; cases of one patient stay together.
        mask: ``(N, S)`` 1 where a source is present, or ``None`` for all.
        load_view: called with ``(case index, view)``, returns the image ``(C, *spatial)``; only
            for sources that learn.
        rows: position of each case in the data that ``load_view`` knows.
    """

    features: tuple[Tensor | None, ...]
    labels: Tensor
    views: Tensor
    groups: Tensor
    mask: Tensor | None = None
    load_view: Callable[[int, int], Tensor] | None = None
    rows: Tensor | None = None

    @classmethod
    def of(
        cls,
        features: Features,
        labels: Sequence[int] | np.ndarray | Tensor,
        views: int | Sequence[int] | np.ndarray | None = None,
        groups: Sequence[str] | Sequence[int] | np.ndarray | None = None,
        load_view: Callable[[int, int], Tensor] | None = None,
    ) -> TrainingData:
        """Return the cases of arrays.

        Args:
            features: per source ``(N, 1 + V, F)``, ``(N, 1 + V, T, F)`` or ``None``. Values of
                views that do not exist may be anything.
            labels: class index of each case.
            views: views of each case, the clean one included; all of ``1 + V`` if ``None``.
            groups: patient of each case; every case is its own if ``None``.
            load_view: the image of ``(case index, view)``, for sources that learn.

        Raises:
            TrainingError: lengths differ, a source has neither features nor images, or a value
                is not finite.
        """
        target = torch.as_tensor(np.asarray(labels), dtype=torch.int64)
        count = len(target)
        tensors = tuple(None if x is None else torch.as_tensor(x) for x in features)
        banked = [x.shape[1] for x in tensors if x is not None]
        available = min(banked) if banked else 1
        number = torch.full((count,), available) if views is None else torch.as_tensor(views)
        number = number.to(torch.int64).expand(count).clone()
        ids = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
        data = cls(
            tensors, target, number, torch.as_tensor(ids), None, load_view, torch.arange(count)
        )
        data._check()
        return data

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Sequence[int] | np.ndarray | Tensor) -> TrainingData:
        """Return some of the cases, in the order of ``indices``."""
        chosen = torch.as_tensor(np.asarray(indices), dtype=torch.int64)
        return replace(
            self,
            features=tuple(None if x is None else x[chosen] for x in self.features),
            labels=self.labels[chosen],
            views=self.views[chosen],
            groups=self.groups[chosen],
            mask=None if self.mask is None else self.mask[chosen],
            rows=None if self.rows is None else self.rows[chosen],
        )

    def image(self, index: int, view: int) -> Tensor:
        """Return the image ``(C, *spatial)`` of one case."""
        if self.load_view is None:
            raise TrainingError("A source learns from images, but no images were given.")
        row = index if self.rows is None else int(self.rows[index])
        return self.load_view(row, view)

    def digest(self) -> str:
        """Return a digest of the labels and the clean features, to tell data sets apart."""
        digest = hashlib.sha256(self.labels.numpy().tobytes() + self.views.numpy().tobytes())
        for x in self.features:
            digest.update(b"-" if x is None else x[:, 0].contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()

    def _check(self) -> None:
        if len(self) == 0:
            raise TrainingError("There is no case to train on.")
        for number, x in enumerate(self.features, 1):
            if x is None and self.load_view is None:
                raise TrainingError(f"Source {number} has neither features nor images.")
            if x is not None:
                self._check_source(number, x)

    def _check_source(self, number: int, x: Tensor) -> None:
        if x.ndim not in (3, 4) or len(x) != len(self):
            raise TrainingError(
                f"Source {number} has features of shape {tuple(x.shape)}, expected "
                f"({len(self)}, views, width) or ({len(self)}, views, tokens, width)."
            )
        if int(self.views.min()) < 1 or int(self.views.max()) > x.shape[1]:
            raise TrainingError(
                f"Source {number} has {x.shape[1]} views of each case, expected between 1 and "
                f"{int(self.views.max())}."
            )
        if not bool(torch.isfinite(x[:, 0]).all()):
            row = int((~torch.isfinite(x[:, 0]).flatten(1).all(1)).nonzero()[0])
            raise TrainingError(
                f"Source {number} gives features that are not finite for case {row}. "
                "Check its normalization and its weights."
            )
