"""Extract from volumes with a network for images: every slice by itself.

This file is copied into every bundle that needs it, so it imports torch alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class SlicedSource(nn.Module):
    """Features ``(N, D, F)`` of the D slices ``[..., k]`` of a volume ``(N, C, H, W, D)``.

    Args:
        source: maps ``(N, C, H, W)`` to ``(N, F)``.
        slices: D, fixed.
        at_once: slices of each volume that are in memory together.
    """

    def __init__(self, source: nn.Module, slices: int, at_once: int = 8) -> None:
        super().__init__()
        self.source = source
        self.slices = slices
        self.at_once = at_once

    def forward(self, volume: Tensor) -> Tensor:
        """Return ``(N, D, F)``."""
        parts = [
            self._features(volume[..., start : min(start + self.at_once, self.slices)])
            for start in range(0, self.slices, self.at_once)
        ]
        return torch.cat(parts, dim=1)

    def _features(self, slab: Tensor) -> Tensor:
        images = slab.permute(0, 4, 1, 2, 3)
        features: Tensor = self.source(images.flatten(0, 1))
        return features.view(-1, images.shape[1], features.shape[-1])

    @property
    def trainable(self) -> Any:
        """What of the network for images learns; see `medfuse.backbones.source.Source`."""
        source: Any = self.source
        return source.trainable

    def set_trainable(self, paths: Sequence[str] | str) -> None:
        """Choose what of the network for images is trained and freeze the rest."""
        source: Any = self.source
        source.set_trainable(paths)
