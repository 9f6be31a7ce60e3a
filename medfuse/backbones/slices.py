"""Extract from volumes with a network for images: every slice by itself.

This file is copied into every bundle that needs it, so it imports torch alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

KEPT_BYTES = 500_000_000


class SlicedSource(nn.Module):
    """Features ``(N, D, F)`` of the D slices ``[..., k]`` of a volume ``(N, C, H, W, D)``.

    No more than ``at_once`` slices are inside the network at a time. Where parts of it learn and
    their activations of all slices would take over half a gigabyte, they are not kept but
    computed again for the backward pass, slab by slab (Chen et al. 2016, arXiv 1604.06174);
    running batch statistics move once.

    Args:
        source: maps ``(N, C, H, W)`` to ``(N, F)``.
        slices: D, fixed.
        at_once: slices in the network together; in a traced network, of each volume.
    """

    def __init__(self, source: nn.Module, slices: int, at_once: int = 16) -> None:
        super().__init__()
        self.source = source
        self.slices = slices
        self.at_once = at_once

    def forward(self, volume: Tensor) -> Tensor:
        """Return ``(N, D, F)``."""
        # A trace holds for batches of any size, so it must not depend on that of its example.
        if _is_tracing():
            return torch.cat([self._features(s) for s in self._slabs(volume, self.at_once)], 1)
        groups = torch.split(volume, self.at_once)
        slabs = [self._slabs(group, self.at_once // max(1, len(group))) for group in groups]
        found = self._each([slab for group in slabs for slab in group])
        return torch.cat([torch.cat([next(found) for _ in group], 1) for group in slabs])

    def _slabs(self, volume: Tensor, thickness: int) -> list[Tensor]:
        starts = range(0, self.slices, thickness)
        return [volume[..., start : min(start + thickness, self.slices)] for start in starts]

    def _each(self, slabs: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield the features of each slab; what they keep is told by the first."""
        first, *others = slabs
        kept = _Kept(self)
        with torch.autograd.graph.saved_tensors_hooks(kept.count, _same):
            features = self._features(first)
        yield features
        again = kept.bytes * len(slabs) > KEPT_BYTES
        for slab in others:
            yield self._recomputed(slab) if again else self._features(slab)

    def _recomputed(self, slab: Tensor) -> Tensor:
        features: Tensor = checkpoint(
            self._features,
            slab,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), _still(self.source)),
        )
        return features

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


class _Kept:
    """Counts the bytes that are kept for a backward pass, beside the parameters."""

    def __init__(self, module: nn.Module) -> None:
        self._known = {p.untyped_storage().data_ptr() for p in module.parameters()}
        self.bytes = 0

    def count(self, tensor: Tensor) -> Tensor:
        """Return the tensor as it is."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._known:
            self._known.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _is_tracing() -> bool:
    return bool(torch.jit.is_tracing() or torch.compiler.is_compiling())  # type: ignore[attr-defined, no-untyped-call]


@contextmanager
def _still(module: nn.Module) -> Iterator[None]:
    """Keep running batch statistics as they are while a slab is computed again."""
    learning = [part for part in module.modules() if part.training]
    kept = [(b, b.clone()) for part in learning for b in part.buffers(recurse=False)]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)
