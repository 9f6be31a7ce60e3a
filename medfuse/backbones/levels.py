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

_SMALLEST_VARIANCE = 1e-6


class LevelsBackbone(nn.Module):
    """``(map (N, F, *grid), vector (N, P))``: the backbone's own vector, and more of its maps.

    The vector is followed by the standard deviation of the last map over its grid, and by mean and
    standard deviation of each stage's map: textures and edges that the last stage no longer tells
    apart. Several stages are read as hypercolumns are (Hariharan et al. 2015, doi
    10.1109/CVPR.2015.7298642), but pooled over the grid; mean and deviation are the statistics
    pooling of Snyder et al. (2018, doi 10.1109/ICASSP.2018.8461375).

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
        mean, deviation = _mean(feature_map), _deviation(feature_map)
        own = mean if pooled is None else pooled
        return feature_map, torch.cat([own, deviation, *(found[i] for i in sorted(found))], 1)


def _note(
    found: dict[int, Tensor], place: int, channels_last: bool, thread: int, *call: Any
) -> None:
    """Keep the statistics of a stage's first output; a network may change it in place later."""
    output: Tensor = call[-1]
    if place in found or thread != threading.get_ident():  # another thread's image
        return
    feature_map = output.movedim(-1, 1) if channels_last else output
    found[place] = torch.cat([_mean(feature_map), _deviation(feature_map)], 1)


def _mean(feature_map: Tensor) -> Tensor:
    return feature_map.flatten(2).mean(2)


def _deviation(feature_map: Tensor) -> Tensor:
    variance = feature_map.flatten(2).var(2, correction=0)
    return variance.clamp(min=_SMALLEST_VARIANCE).sqrt()
