"""Levels: what earlier stages of a backbone saw, beside its own vector.

This file is copied into bundles, so it imports torch alone.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


class LevelsBackbone(nn.Module):
    """``(map (N, F, *grid), vector (N, P))``: the backbone's own vector, and more of its maps.

    The vector is followed by the mean of each stage's map over its grid: textures and edges that
    the last stage no longer tells apart. Several stages are read as hypercolumns are (Hariharan et
    al. 2015, doi 10.1109/CVPR.2015.7298642), but pooled over the grid.

    Args:
        backbone: gives ``(map, pooled or None)``.
        stages: ``module_path`` of each stage inside the backbone, whose output is a map
            ``(N, F, *grid)``, or with ``channels_last`` ``(N, *grid, F)``.
    """

    def __init__(self, backbone: nn.Module, stages: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.backbone = backbone
        self.stages = [dict(stage) for stage in stages]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map and the long vector."""
        found: dict[int, Tensor] = {}
        with ExitStack() as hooks:
            for place, stage in enumerate(self.stages):
                module = self.backbone.get_submodule(stage["module_path"])
                read = partial(
                    _note, found, place, stage.get("channels_last", False), threading.get_ident()
                )
                hooks.callback(module.register_forward_hook(read).remove)
            feature_map, pooled = self.backbone(x)
        own = _mean(feature_map) if pooled is None else pooled
        return feature_map, torch.cat([own, *(found[i] for i in sorted(found))], 1)


def _note(
    found: dict[int, Tensor], place: int, channels_last: bool, thread: int, *call: Any
) -> None:
    """Keep the mean of a stage's first output; a network may change it in place later."""
    output: Tensor = call[-1]
    if place in found or thread != threading.get_ident():  # another thread's image
        return
    found[place] = _mean(output.movedim(-1, 1) if channels_last else output)


def _mean(feature_map: Tensor) -> Tensor:
    return feature_map.flatten(2).mean(2)
