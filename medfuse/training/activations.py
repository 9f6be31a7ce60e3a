"""What the frozen part of a source that learns gives: banked for all cases, or by batch."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from medfuse.backbones.border import Border, LowerPart, UpperPart
from medfuse.backbones.slices import SlicedSource
from medfuse.backbones.source import Source
from medfuse.features.engine import volumes_at_once
from medfuse.features.request import BATCH_SIZE
from medfuse.model import is_present

_VOLUME = 4


@dataclass(frozen=True)
class Activations:
    """Activations at the border of one source.

    Attributes:
        values: ``(rows, 1 + V, A)``, or ``(rows, 1 + V, D, A)`` of D slices, for the rows that
            ``TrainingData.load_view`` knows; NaN where a case has not the input. ``None`` where
            they are not held, but computed of every batch of images.
        border: where they were taken.
    """

    values: Tensor | None
    border: Border

    def take(self, rows: Tensor, views: Tensor) -> Tensor:
        """Return given views of given rows, ``(B, A)`` or ``(B, D, A)``."""
        assert self.values is not None, "not held"
        flat = self.values.flatten(0, 1)
        return flat.index_select(0, rows * self.values.shape[1] + views)

    def of_images(self, module: nn.Module) -> FrozenBatches:
        """Return what computes them of images, with the bits that the bank would hold."""
        return FrozenBatches(cast("Source", module), self.border)

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


class FrozenBatches:
    """Activations of images as the bank computes them: in batches padded to its size.

    Kernels of some layers give other last bits for a batch of another size, and an optimizer that
    scales gradients makes much of them.
    """

    def __init__(self, source: Source, border: Border) -> None:
        self._lower = LowerPart(source, border).eval()
        volume = len(border.image) == _VOLUME
        self._size = volumes_at_once(border.image, BATCH_SIZE) if volume else BATCH_SIZE

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return ``(B, A)`` of ``(B, C, *spatial)``, NaN for an image of NaN."""
        present = is_present(images)
        filled = torch.where(present.view((-1,) + (1,) * (images.ndim - 1)), images, 0.0)
        values = torch.cat([self._of_block(block) for block in torch.split(filled, self._size)])
        return hide(values, present)

    def _of_block(self, block: Tensor) -> Tensor:
        padded = block.new_zeros((self._size, *block.shape[1:]))
        padded[: len(block)] = block
        values: Tensor = self._lower(padded)
        return values[: len(block)]


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
