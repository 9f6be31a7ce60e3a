"""Cut and freeze by name: the stages of a backbone -> module paths."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from medfuse.backbones.cut import CutBackbone
from medfuse.contract import BackboneSpec, Stage
from medfuse.errors import SourceError
from medfuse.suggest import did_you_mean

_BODY = "body."
_LOG = logging.getLogger("medfuse.backbones")


@dataclass(frozen=True)
class Cut:
    """A backbone that ends early.

    Attributes:
        backbone: gives the map of the stage it ends at.
        spec: the description, with the stages that are left.
        keywords: what `CutBackbone` was built with, beside the backbone.
    """

    backbone: CutBackbone
    spec: BackboneSpec
    keywords: dict[str, Any]


def trainable_paths(spec: BackboneSpec, policy: str) -> tuple[str, ...] | str:
    """Return what `Source.set_trainable` takes, for the ``train`` of a configuration.

    ``last:N`` is everything behind the stage before, up to the end of the network; ``from:STAGE``
    the same, by name.

    Raises:
        SourceError: the backbone has no such stage, or the policy is unknown.
    """
    if policy == "frozen":
        return ()
    if policy in ("all", "scratch"):
        return "all"
    count = _learning_stages(spec, policy)
    if count > len(spec.stages):
        names = ", ".join(stage.name for stage in spec.stages) or "none"
        raise SourceError(
            f"train: {policy}, but {spec.name} has {len(spec.stages)} stages ({names}). "
            "Choose a smaller number, or all."
        )
    if count == len(spec.stages):
        return (f"after:{spec.stem}",) if spec.stem else "all"
    return (f"after:{spec.stages[-count - 1].module_path}",)


def stages_above(backbone: nn.Module, spec: BackboneSpec) -> dict[str, int]:
    """Return how many stages lie above each module, in the order they are registered.

    What is neither in a stage nor behind one, such as the stem or a class token, lies below all.
    """
    names = [name for name, _ in backbone.named_modules()]

    def end(path: str) -> int:
        return max(i for i, n in enumerate(names) if n == path or n.startswith(f"{path}."))

    below = spec.stem if spec.stem in names and spec.stem else names[0]
    before = names.index(below) if below == names[0] else end(below)
    ends = [before, *(end(stage.module_path) for stage in spec.stages[:-1])]
    return {name: sum(i <= last for last in ends) for i, name in enumerate(names)}


def _learning_stages(spec: BackboneSpec, policy: str) -> int:
    """Return N of ``last:N``, or the number of stages from a named one on."""
    kind, _, text = policy.partition(":")
    if kind == "last" and text.isdigit() and int(text) > 0:
        return int(text)
    if kind != "from":
        raise SourceError(
            f"train: {policy!r}, expected frozen, all, scratch, last:N (N from 1 on) or from:STAGE."
        )
    names = [stage.name for stage in spec.stages]
    if text not in names:
        raise SourceError(
            f"train: {policy}, but {spec.name} has no stage {text!r}. "
            f"Stages: {', '.join(names) or 'none'}.{did_you_mean(text, names)}"
        )
    return len(names) - names.index(text)


def cut_backbone(backbone: nn.Module, spec: BackboneSpec, cut: str, size: Sequence[int]) -> Cut:
    """Return ``backbone`` up to ``cut``: a stage's name, or any module's path.

    Layout and grid of the cut's output are measured, not taken from the description.

    Args:
        backbone: in the form the factory gives it; put into eval mode.
        spec: its description.
        cut: where to end.
        size: spatial input size.

    Raises:
        SourceError: no such place, or the network cannot be cut there.
    """
    path = _module_path(backbone, spec, cut)
    output = _output_of(backbone, spec, path, size)
    layout = _layout(output, spec, path, size)
    width = output.shape[1 if layout["layout"] == "grid" else -1]
    warn_of_width(spec, path, width)
    keywords = {"module_path": path, **layout}
    names = [name for name, _ in backbone.named_modules()]
    try:
        short = CutBackbone(backbone, **keywords)
    except ValueError as error:
        raise SourceError(f"{spec.name}: cut: {cut}: {error}. Choose another stage.") from error
    return Cut(short, _shortened(spec, cut, path, names), keywords)


def warn_of_width(spec: BackboneSpec, path: str, found: int) -> None:
    """Say it where a stage is wider or narrower than its description; the measured width counts."""
    stage = next((stage for stage in spec.stages if stage.module_path == path), None)
    if stage is not None and stage.feature_dim not in (0, found):
        _LOG.warning(
            "%s: its description says that stage %s gives %d features, but it gives %d, which is "
            "used. `medfuse plugins check` finds such errors.",
            spec.name, stage.name, stage.feature_dim, found,
        )  # fmt: skip


def _module_path(backbone: nn.Module, spec: BackboneSpec, cut: str) -> str:
    by_name = {stage.name: stage.module_path for stage in spec.stages}
    known = {name for name, _ in backbone.named_modules() if name}
    inside = [f"{child}.{cut}" for child, _ in backbone.named_children()]
    for path in (by_name.get(cut, cut), *inside):
        if path in known:
            return path
    raise SourceError(
        f"{spec.name}: cut: {cut!r} is no stage and no module of it. "
        f"Stages: {', '.join(by_name) or 'none'}.{did_you_mean(cut, by_name)}"
    )


def _output_of(backbone: nn.Module, spec: BackboneSpec, path: str, size: Sequence[int]) -> Tensor:
    outputs: list[Any] = []
    module = backbone.get_submodule(path)
    handle = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        with torch.no_grad():
            backbone.eval()(torch.zeros(1, spec.in_channels, *size))
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise SourceError(_does_not_run(spec, size, error)) from error
    finally:
        handle.remove()
    if not outputs or not isinstance(outputs[0], Tensor) or outputs[0].ndim < 3:
        found = type(outputs[0]).__name__ if outputs else "nothing (it is not called)"
        raise SourceError(f"{spec.name}: {path} gives {found}, expected a feature map to cut at.")
    return outputs[0]


def _does_not_run(spec: BackboneSpec, size: Sequence[int], error: Exception) -> str:
    text = " ".join(str(error).split())[:160]
    shown = " x ".join(map(str, size))
    return f"{spec.name}: does not run at {shown} ({text}). Set another input_size."


def _layout(output: Tensor, spec: BackboneSpec, path: str, size: Sequence[int]) -> dict[str, Any]:
    stages = {stage.module_path: stage for stage in spec.stages}
    nearest = stages.get(path) or (spec.stages[-1] if spec.stages else None)
    if output.ndim == 3:
        prefix = nearest.prefix_tokens if nearest else 0
        return _token_layout(output.shape[1], prefix, size, f"{spec.name}: {path}")
    return {"layout": "channels_last" if channels_last(output, nearest, size) else "grid"}


def channels_last(output: Tensor, stage: Stage | None, size: Sequence[int]) -> bool:
    """Return whether a map's channels are its last axis: measured, ``stage`` decides a draw."""
    first, last = _unevenness(output.shape[2:], size), _unevenness(output.shape[1:-1], size)
    if first == last:
        return stage is not None and stage.layout == "channels_last"
    return last < first


def _unevenness(grid: Sequence[int], size: Sequence[int]) -> float:
    """Return how far the strides along the axes differ; 1 where they are equal."""
    strides = [pixels / cells for pixels, cells in zip(size, grid, strict=True)]
    return round(max(strides) / min(strides), 3)


def _token_layout(tokens: int, prefix: int, size: Sequence[int], where: str) -> dict[str, Any]:
    for count in dict.fromkeys((prefix, 0, 1)):
        stride = (prod(size) / (tokens - count)) ** (1 / len(size)) if tokens > count else 0.0
        grid = [round(pixels / stride) for pixels in size] if stride else [0]
        if prod(grid) == tokens - count and prod(grid) > 0:
            return {"layout": "tokens", "prefix_tokens": count, "grid": grid}
    raise SourceError(f"{where}: its {tokens} tokens form no grid, so it cannot be cut there.")


def _shortened(spec: BackboneSpec, cut: str, path: str, names: Sequence[str]) -> BackboneSpec:
    order = {name: position for position, name in enumerate(names)}
    kept = [
        replace(stage, module_path=_BODY + stage.module_path)
        for stage in spec.stages
        if order[stage.module_path] < order[path] and not path.startswith(f"{stage.module_path}.")
    ]
    last = Stage(name=cut, module_path=_BODY + path)
    stem = _BODY + spec.stem if spec.stem else ""
    return replace(spec, stem=stem, stages=(*kept, last), native_pooling=False)
