"""Align: where in the image the cells of a map look, measured rather than assumed.

A convolution of stride 2 and padding 1 centers its cell ``j`` on pixel ``2 j``, not on ``2 j +
0.5`` as resizing has it. Over five such steps a map laid over its image by resizing lies 15 pixels
too far to the right and down.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medfuse.explanation.reading import MapPlace, backbone_of, module_at

_DRAWS = {2: 12, 3: 2}
_MIDDLE = 1  # cells beside the middle one


@dataclass(frozen=True)
class Alignment:
    """Where the cells of a map lie: the center of cell ``j`` is pixel ``stride * j + offset``.

    Attributes:
        grid: cells along each axis.
        stride: pixels of the image per cell, along each axis.
        offset: in pixels.
    """

    grid: tuple[int, ...]
    stride: tuple[float, ...]
    offset: tuple[float, ...]

    def at(self, axis: int, pixels: np.ndarray) -> np.ndarray:
        """Return in cells where pixels lie along an axis."""
        found: np.ndarray = (pixels - self.offset[axis]) / self.stride[axis]
        return found

    def centers(self, axis: int) -> np.ndarray:
        """Return in pixels where the cells lie along an axis."""
        found: np.ndarray = self.stride[axis] * np.arange(self.grid[axis]) + self.offset[axis]
        return found


def assumed(grid: Sequence[int], size: Sequence[int]) -> Alignment:
    """Return the alignment of a resized map, whose cells are squares side by side."""
    stride = tuple(s / g for s, g in zip(size, grid, strict=True))
    return Alignment(tuple(grid), stride, tuple((s - 1) / 2 for s in stride))


def measured(source: nn.Module, places: Sequence[MapPlace], image: Tensor) -> list[Alignment]:
    """Return the alignment of each map, from the gradient of its middle cells.

    The center of a cell is the center of mass of its squared gradient on noise images, with
    random signs of the channels: its effective receptive field (Luo et al. 2016, arXiv
    1701.04128). One that lies further off than a cell is taken for a failed measurement.

    Args:
        source: maps images to features.
        places: of the maps.
        image: ``(1, C, *spatial)``, for its shape.
    """
    random = torch.Generator().manual_seed(0)
    size = tuple(image.shape[2:])
    centers: list[list[np.ndarray]] = [[] for _ in places]
    for _ in range(_DRAWS[len(size)]):
        noise = torch.rand(image.shape, generator=random).to(image).requires_grad_()
        with torch.enable_grad():
            for number, feature_map in enumerate(_maps(source, places, noise)):
                centers[number] += _offsets(feature_map, noise, random)
    return [
        _checked(assumed(place.grid, size), np.mean(found, axis=0) if found else None)
        for place, found in zip(places, centers, strict=True)
    ]


def resample(values: Tensor, before: Alignment, positions: Sequence[np.ndarray]) -> Tensor:
    """Return ``(N, C, *grid)`` at other places, in pixels along each axis; linear in between."""
    for axis, pixels in enumerate(positions):
        matrix = torch.as_tensor(_linear(before.at(axis, pixels), before.grid[axis]))
        moved = values.transpose(axis + 2, -1) @ matrix.T.to(values)
        values = moved.transpose(axis + 2, -1)
    return values


def _maps(source: nn.Module, places: Sequence[MapPlace], image: Tensor) -> list[Tensor]:
    backbone = backbone_of(source)
    found: dict[str, Tensor] = {}

    def keep(place: MapPlace) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            found.setdefault(place.path, place.to_map(output).clone())

        return hook

    with ExitStack() as hooks:
        for place in places:
            module = module_at(backbone, place.path)
            hooks.callback(module.register_forward_hook(keep(place)).remove)
        source(image)
    return [found[place.path] for place in places]


def _offsets(feature_map: Tensor, noise: Tensor, random: torch.Generator) -> list[np.ndarray]:
    """Return in pixels how far each of the middle cells looks beyond ``stride * j``."""
    grid, size = feature_map.shape[2:], noise.shape[2:]
    found = []
    for cell in _middle(grid):
        signs = torch.randint(0, 2, (feature_map.shape[1],), generator=random) * 2.0 - 1
        at = feature_map[0].flatten(1)[:, int(np.ravel_multi_index(cell, tuple(grid)))]
        score = (at * signs.to(feature_map)).sum()
        (gradient,) = torch.autograd.grad(score, noise, retain_graph=True)
        energy = gradient[0].double().square().sum(0).cpu().numpy()
        total = energy.sum()
        if total > 0:
            mass = [
                (energy.sum(tuple(a for a in range(len(size)) if a != axis)) @ np.arange(side))
                / total
                for axis, side in enumerate(size)
            ]
            steps = [s / g * j for s, g, j in zip(size, grid, cell, strict=True)]
            found.append(np.array(mass) - np.array(steps))
    return found


def _middle(grid: Sequence[int]) -> list[tuple[int, ...]]:
    middle = tuple(side // 2 for side in grid)
    if min(grid) < 5:
        return [middle]
    return [middle, tuple(j - _MIDDLE for j in middle), tuple(j + _MIDDLE for j in middle)]


def _checked(plain: Alignment, offset: np.ndarray | None) -> Alignment:
    if offset is None:
        return plain
    kept = tuple(
        float(found) if abs(found - usual) <= stride else usual
        for found, usual, stride in zip(offset, plain.offset, plain.stride, strict=True)
    )
    return Alignment(plain.grid, plain.stride, kept)


def _linear(places: np.ndarray, cells: int) -> np.ndarray:
    """Return weights ``(places, cells)`` of linear interpolation; the ends go on as they are."""
    inside = np.clip(places, 0, cells - 1)
    weights = np.maximum(0, 1 - np.abs(inside[:, None] - np.arange(cells)[None]))
    found: np.ndarray = weights.astype(np.float32)
    return found
