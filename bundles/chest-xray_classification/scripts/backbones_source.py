"""Extract: a canonical image to the features of one pretrained network.

This file is copied into every bundle, so it imports torch alone. All parts are handed in.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_AFTER = "after:"
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Source(nn.Module):
    """Features of a canonical image ``(N, C, *spatial)`` in [0, 1].

    The features are a pooled vector ``(N, F)``, or tokens ``(N, grid ** d, F)`` of a map that is
    averaged over a grid, rows first. Parts that are not trainable have ``requires_grad`` off and
    stay in eval mode whatever `train` is told, so that neither batch statistics nor dropout move.

    Args:
        backbone: returns ``(map (N, F, *grid), pooled (N, P) or None)``, or one of the two.
        adapter: maps the canonical image to what the backbone takes.
        pooling: ``native`` (the backbone's own vector where it gives one), ``average`` of the
            map, or ``grid``.
        grid: tokens along each axis.
        trainable: see `set_trainable`.
        batch_norm: what moves in batch norms of trainable parts: ``train`` (statistics, scale and
            shift), ``affine`` (scale and shift) or ``frozen`` (nothing).
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what a configuration node says
        self,
        backbone: nn.Module,
        adapter: nn.Module,
        pooling: str = "native",
        grid: int = 4,
        trainable: Sequence[str] | str = (),
        batch_norm: str = "train",
    ) -> None:
        super().__init__()
        if batch_norm not in ("train", "affine", "frozen"):
            raise ValueError(f"batch_norm is {batch_norm!r}, expected train, affine or frozen")
        if pooling not in ("native", "average", "grid"):
            raise ValueError(f"pooling is {pooling!r}, expected native, average or grid")
        self.adapter = adapter
        self.backbone = backbone
        self.pooling = pooling
        self.grid = grid
        self.batch_norm = batch_norm
        self.set_trainable(trainable)

    def forward(self, image: Tensor) -> Tensor:
        """Return ``(N, F)``, or ``(N, T, F)`` with ``pooling="grid"``."""
        feature_map, pooled = _map_and_vector(self.backbone(self.adapter(image)))
        if self.pooling == "native" and pooled is not None:
            return pooled
        if feature_map is None:
            raise ValueError(f"the backbone gives no feature map, which {self.pooling} needs")
        if self.pooling == "grid":
            return _grid_tokens(feature_map, self.grid)
        return feature_map.flatten(2).mean(2)

    def set_trainable(self, paths: Sequence[str] | str) -> None:
        """Choose what is trained and freeze the rest.

        Args:
            paths: ``"all"``, or module paths inside the backbone. A path stands for the module
                and all inside it; ``after:PATH`` for every module registered behind it, to the
                end of the network.

        Raises:
            ValueError: the backbone has no such module.
        """
        self.trainable = "all" if paths == "all" else tuple(paths)
        self._trained = selected_modules(self.backbone, paths)
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(name.rpartition(".")[0] in self._trained)
        if self.batch_norm == "frozen":
            for module in self._batch_norms():
                module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Source:
        """Switch the trainable parts to training mode; all others stay in eval mode."""
        super().train(False)
        self.training = mode
        for name, module in self.backbone.named_modules():
            if name in self._trained:
                module.train(mode)
        if self.batch_norm != "train":
            for module in self._batch_norms():
                module.train(False)
        return self

    def _batch_norms(self) -> list[nn.Module]:
        return [part for part in self.backbone.modules() if isinstance(part, _BATCH_NORMS)]


def selected_modules(backbone: nn.Module, paths: Sequence[str] | str) -> frozenset[str]:
    """Return the names of the modules that the paths of `Source.set_trainable` stand for.

    Raises:
        ValueError: the backbone has no such module.
    """
    names = [name for name, _ in backbone.named_modules()]
    selected: set[str] = set(names) if paths == "all" else set()
    for path in () if paths == "all" else paths:
        root = path.removeprefix(_AFTER)
        if root not in names:
            raise ValueError(f"the backbone has no module {root!r}")
        inside = [n for n in names if n == root or n.startswith(f"{root}.")]
        last = names.index(inside[-1])
        selected.update(names[last + 1 :] if path.startswith(_AFTER) else inside)
    return frozenset(selected)


def _map_and_vector(product: Tensor | Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """Return ``(map or None, pooled or None)`` of what a backbone gave."""
    if isinstance(product, torch.Tensor):
        return (None, product) if product.ndim == 2 else (product, None)
    feature_map, pooled = product
    return feature_map, pooled


def _grid_tokens(feature_map: Tensor, grid: int) -> Tensor:
    spatial_dims = feature_map.ndim - 2
    pool = functional.adaptive_avg_pool2d if spatial_dims == 2 else functional.adaptive_avg_pool3d
    return pool(feature_map, grid).flatten(2).transpose(1, 2)
