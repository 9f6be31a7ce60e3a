"""Cases in memory: banked features of every view, labels, patients."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medfuse.errors import TrainingError
from medfuse.training.activations import Activations

Features = Sequence["Tensor | np.ndarray | None"]
LoadView = Callable[[int, int], Sequence[Tensor]]


@dataclass(frozen=True)
class Presence:
    """Which inputs each case has, and which input each source reads.

    Attributes:
        known: ``(N, I)`` bool, true where a case has an input.
        inputs: position of the input of each source.
    """

    known: np.ndarray
    inputs: tuple[int, ...]

    def mask(self) -> Tensor:
        """Return ``(N, S)``, 1 where a source has its input."""
        return torch.as_tensor(self.known)[:, list(self.inputs)].float()


@dataclass(frozen=True)
class TrainingData:
    """N cases with the features of S sources; make it with `TrainingData.of`.

    Attributes:
        features: per source ``(N, 1 + V, F)``, or tokens or slices ``(N, 1 + V, T, F)``, view 0
            clean; ``None`` for a source that is computed from the image. 0 where ``mask`` is 0.
        labels: ``(N,)`` class indices; or answers ``(N, L)`` to several labels: 1, 0, or -1 where
            unknown.
        views: ``(N,)`` how many views of a case exist, at least 1.
        groups: ``(N,)`` patient of each case, as numbers; cases of one patient stay together.
        mask: ``(N, S)`` 1 where a source has its input, or ``None`` for all.
        load_view: called with ``(case index, view)``, returns one tensor ``(C, *spatial)`` for each
            input, NaN where a case has none; only for sources that learn.
        inputs: position of the input of each source.
        rows: position of each case in the data that ``load_view`` knows.
        activations: by source, of its frozen part, for sources that learn above it; where they are
            held they stand in for the images.
    """

    features: tuple[Tensor | None, ...]
    labels: Tensor
    views: Tensor
    groups: Tensor
    mask: Tensor | None = None
    load_view: LoadView | None = None
    rows: Tensor | None = None
    inputs: tuple[int, ...] = ()
    activations: Mapping[int, Activations] = field(default_factory=dict)

    @classmethod
    def of(  # noqa: PLR0913 - the columns of a table
        cls,
        features: Features,
        labels: Sequence[int] | Sequence[Sequence[int]] | np.ndarray | Tensor,
        views: int | Sequence[int] | np.ndarray | None = None,
        groups: Sequence[str] | Sequence[int] | np.ndarray | None = None,
        *,
        presence: Presence | None = None,
        load_view: LoadView | None = None,
        activations: Mapping[int, Activations] | None = None,
    ) -> TrainingData:
        """Return the cases of arrays.

        Args:
            features: per source ``(N, 1 + V, F)``, ``(N, 1 + V, T, F)`` or ``None``. Values of
                views that do not exist may be anything.
            labels: class index of each case, or its answers ``(N, L)``.
            views: views of each case, the clean one included; all of ``1 + V`` if ``None``.
            groups: patient of each case; every case is its own if ``None``.
            presence: which inputs the cases have; all have the only one if ``None``.
            load_view: the inputs of ``(case index, view)``, for sources that learn.
            activations: by source, see the class.

        Raises:
            TrainingError: lengths differ, a source has neither features nor images, or a value
                is not finite.
        """
        target = torch.as_tensor(np.asarray(labels), dtype=torch.int64)
        count = len(target)
        tensors = tuple(None if x is None else torch.as_tensor(x) for x in features)
        mask = None if presence is None else presence.mask()
        if mask is not None:
            tensors = tuple(_zero_where_absent(x, mask[:, i]) for i, x in enumerate(tensors))
        banked = [x.shape[1] for x in tensors if x is not None]
        available = min(banked) if banked else 1
        number = torch.full((count,), available) if views is None else torch.as_tensor(views)
        number = number.to(torch.int64).expand(count).clone()
        ids = np.arange(count) if groups is None else np.unique(groups, return_inverse=True)[1]
        data = cls(
            tensors,
            target,
            number,
            torch.as_tensor(ids),
            mask,
            load_view,
            torch.arange(count),
            (0,) * len(tensors) if presence is None else presence.inputs,
            activations or {},
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

    def targets(self, rows: Tensor, num_classes: int) -> Tensor:
        """Return what is learned of some cases, ``(B, K)``: class probabilities, or answers with
        NaN where they are unknown.
        """
        chosen = self.labels[rows]
        if chosen.ndim == 2:
            return torch.where(chosen < 0, torch.nan, chosen.float())
        return F.one_hot(chosen, num_classes).float()

    def images(self, index: int, view: int) -> Sequence[Tensor]:
        """Return the inputs of one case, ``(C, *spatial)`` each; NaN where it has none."""
        if self.load_view is None:
            raise TrainingError("A source learns from images, but no images were given.")
        row = index if self.rows is None else int(self.rows[index])
        return self.load_view(row, view)

    def digest(self) -> str:
        """Return a digest of the labels and the clean features, to tell data sets apart."""
        digest = hashlib.sha256(self.labels.numpy().tobytes() + self.views.numpy().tobytes())
        if self.mask is not None:
            digest.update(self.mask.numpy().tobytes())
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

    def known_inputs(self) -> Tensor | None:
        """Return which inputs each case has, ``(N, I)`` of 0 and 1, or ``None`` for all."""
        if self.mask is None:
            return None
        first = [self.inputs.index(i) for i in range(max(self.inputs) + 1)]
        return self.mask[:, first]

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


def _zero_where_absent(x: Tensor | None, present: Tensor) -> Tensor | None:
    """Return the features with zeros in place of what is not there (NaN, as a rule)."""
    if x is None:
        return None
    return torch.where(present.view((-1,) + (1,) * (x.ndim - 1)) > 0, x, 0.0)
