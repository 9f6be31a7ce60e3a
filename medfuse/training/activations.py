"""What the frozen part of a source that learns gives for every case and view, computed once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from medfuse.backbones.border import Border, UpperPart
from medfuse.backbones.slices import SlicedSource
from medfuse.backbones.source import Source


@dataclass(frozen=True)
class Activations:
    """Banked activations at the border of one source.

    Attributes:
        values: ``(rows, 1 + V, A)``, or ``(rows, 1 + V, D, A)`` of D slices, for the rows that
            ``TrainingData.load_view`` knows; NaN where a case has not the input.
        border: where they were taken.
    """

    values: Tensor
    border: Border

    def take(self, rows: Tensor, views: Tensor) -> Tensor:
        """Return given views of given rows, ``(B, A)`` or ``(B, D, A)``."""
        flat = self.values.flatten(0, 1)
        return flat.index_select(0, rows * self.values.shape[1] + views)

    def features_of(self, module: nn.Module) -> nn.Module:
        """Return what computes a source's features from its activations.

        It shares all parameters with the source.
        """
        if not isinstance(module, SlicedSource):
            return UpperPart(cast("Source", module), self.border)
        sliced = copy.copy(module)
        sliced.__dict__["_modules"] = {
            "source": UpperPart(cast("Source", module.source), self.border)
        }
        return _OfSlices(sliced)


class _OfSlices(nn.Module):
    """Features of the activations of slices ``(N, D, A)``, by the slabs of a `SlicedSource`."""

    def __init__(self, sliced: SlicedSource) -> None:
        super().__init__()
        self.sliced: Any = sliced

    def forward(self, activations: Tensor) -> Tensor:
        """Return ``(N, D, F)``."""
        volume = activations.movedim(1, -1)[:, :, None, None]
        features: Tensor = self.sliced(volume)
        return features


def hide(activations: Tensor, mask: Tensor) -> Tensor:
    """Return the activations with NaN for the cases where ``mask`` ``(B,)`` is 0."""
    axes = (-1,) + (1,) * (activations.ndim - 1)
    return torch.where(mask.view(axes) > 0, activations, torch.nan)
