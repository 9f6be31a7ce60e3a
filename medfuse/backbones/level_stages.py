"""Choose the stages that a source reads beside the end of its backbone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from medfuse.backbones.levels import LevelsBackbone
from medfuse.backbones.stages import channels_last, warn_of_width
from medfuse.contract import BackboneSpec, Stage

_INNER = "backbone."


@dataclass(frozen=True)
class Levels:
    """A backbone that gives features of several stages.

    Attributes:
        backbone: gives the last map and the long vector.
        spec: the description, with the stages where they lie now.
        keywords: what `LevelsBackbone` was built with, beside the backbone.
        count: resolutions that were found; as many as were asked for, or fewer.
    """

    backbone: LevelsBackbone
    spec: BackboneSpec
    keywords: dict[str, Any]
    count: int


def with_levels(
    backbone: nn.Module, spec: BackboneSpec, count: int, size: Sequence[int]
) -> Levels | None:
    """Return ``backbone`` with features of its last ``count`` resolutions.

    Of the stages whose maps have the same grid the last one is read, as in feature pyramids. A
    stage whose output is the backbone's own map is not read twice. ``None`` where no stage gives
    another map: transformers, and backbones without stages.

    Args:
        backbone: in eval mode.
        spec: its description; stages are named from input to output.
        count: resolutions, the end's own included.
        size: spatial input size.
    """
    seen, last = _observed(backbone, spec, size)
    by_grid = {grid: stage for stage, grid, _ in _maps(spec, seen, size)}
    outputs = {stage.module_path: output for stage, _, output in _maps(spec, seen, size)}
    for path, output in outputs.items():
        warn_of_width(spec, path, output.shape[1])
    read = list(by_grid.values())[-count:]
    chosen = [
        {"module_path": stage.module_path, "channels_last": stage.layout == "channels_last"}
        for stage in read
        if not _same(outputs[stage.module_path], last)
    ]
    if not chosen or count < 2:
        return None
    keywords = {"stages": chosen}
    short = LevelsBackbone(backbone, **keywords).eval()
    return Levels(short, _moved(spec), keywords, max(2, len(read)))


def _observed(
    backbone: nn.Module, spec: BackboneSpec, size: Sequence[int]
) -> tuple[dict[str, Any], Tensor | None]:
    """Return what each stage gave for one image, and the backbone's map."""
    seen: dict[str, Any] = {}
    image = torch.rand(1, spec.in_channels, *size, generator=torch.Generator().manual_seed(0))
    with ExitStack() as hooks, torch.no_grad():
        for stage in spec.stages:
            module = backbone.get_submodule(stage.module_path)
            hooks.callback(module.register_forward_hook(_keeper(seen, stage)).remove)
        product = backbone(image)
    return seen, product if isinstance(product, Tensor) else product[0]


def _keeper(seen: dict[str, Any], stage: Stage) -> Any:
    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        copied = output.clone() if isinstance(output, Tensor) else output
        seen.setdefault(stage.module_path, copied)

    return keep


def _maps(
    spec: BackboneSpec, seen: dict[str, Any], size: Sequence[int]
) -> Iterator[tuple[Stage, tuple[int, ...], Tensor]]:
    """Yield the stages that gave a map, its grid, and the map ``(N, F, *grid)``."""
    for stage in spec.stages:
        output = seen.get(stage.module_path)
        if not isinstance(output, Tensor) or output.ndim != 2 + len(size):
            continue
        last = channels_last(output, stage, size)
        found = replace(stage, layout="channels_last" if last else "grid")
        feature_map = output.movedim(-1, 1) if last else output
        yield found, tuple(feature_map.shape[2:]), feature_map


def _same(feature_map: Tensor, last: Tensor | None) -> bool:
    return last is not None and feature_map.shape == last.shape and torch.equal(feature_map, last)


def _moved(spec: BackboneSpec) -> BackboneSpec:
    stages = tuple(replace(s, module_path=_INNER + s.module_path) for s in spec.stages)
    stem = _INNER + spec.stem if spec.stem else ""
    return replace(spec, stem=stem, stages=stages, native_pooling=True)
