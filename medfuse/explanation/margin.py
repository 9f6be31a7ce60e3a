"""Margin: the maps of a network as they are where its image does not end.

A convolution pads its maps with zeros. Cells at the border see that edge in every image, whatever
it shows, and may answer it more strongly than any finding; what they answer then lies in a corner
of the saliency (Islam et al. 2020, arXiv 2001.08248, and Alsallakh et al. 2021, arXiv 2010.02178,
show how much networks make of their padding).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medfuse.explanation.reading import MapPlace, backbone_of, module_at


def without_padding(
    source: nn.Module, places: Sequence[MapPlace], image: Tensor
) -> dict[str, Tensor]:
    """Return by path the maps ``(N, F, *grid)`` of images that go on, mirrored, past their border.

    The margin is as wide as a cell of the coarsest map, on every side, and is cut off again. A
    map is left out where the network takes no larger images, or where its cells would not lie on
    those of the image itself. Tokens of a transformer see no padding and are left out too.

    Args:
        source: maps images to features.
        places: of the maps.
        image: ``(N, C, *spatial)``.
    """
    wanted = [place for place in places if place.layout != "tokens"]
    if not wanted:
        return {}
    margin: list[int] = []
    found: dict[str, Tensor] = {}

    def widen(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        size = inputs[0].shape[2:]
        margin[:] = [max(round(s / p.grid[a]) for p in wanted) for a, s in enumerate(size)]
        margin[:] = [min(m, s - 1) for m, s in zip(margin, size, strict=True)]
        sides = [m for m in reversed(margin) for _ in range(2)]
        return (F.pad(inputs[0], sides, mode="reflect"), *inputs[1:])

    backbone = backbone_of(source)
    with torch.no_grad(), ExitStack() as hooks:
        hooks.callback(backbone.register_forward_pre_hook(widen).remove)
        for place in wanted:
            module = module_at(backbone, place.path)
            hooks.callback(module.register_forward_hook(_keeper(found, place)).remove)
        try:
            source(image)
        except (AssertionError, RuntimeError, ValueError):  # each library has its own for a size
            return {}
    cut = {place.path: _inner(found[place.path], place.grid) for place in wanted}
    return {path: inner for path, inner in cut.items() if inner is not None}


def _keeper(found: dict[str, Tensor], place: MapPlace) -> Any:
    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        # A network may change the output in place later.
        found.setdefault(place.path, place.to_map(output).clone())

    return keep


def _inner(feature_map: Tensor, grid: Sequence[int]) -> Tensor | None:
    """Return the cells of the image itself, or ``None`` where they cannot be told."""
    for axis, cells in enumerate(grid, start=2):
        beyond = feature_map.shape[axis] - cells
        if beyond < 0 or beyond % 2:
            return None
        feature_map = feature_map.narrow(axis, beyond // 2, cells)
    return feature_map
