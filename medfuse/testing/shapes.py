"""Shapes of what backbones, fusions and heads return, as the contract says."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from medfuse.contract import (
    BackboneSpec,
    DecisionFusionSpec,
    FeatureFusionSpec,
    HeadSpec,
    Stage,
)
from medfuse.errors import PluginError
from medfuse.testing.behavior import check_close
from medfuse.testing.findings import NotApplicable
from medfuse.testing.probes import IN_DIMS, ROWS, Probe, probe_fusion, probe_head


def backbone_shapes(probe: Probe) -> None:
    """Pass if the product gives ``(map (N, F, *grid), pooled (N, P) or None)``."""
    spec = _spec(probe, BackboneSpec)
    with torch.no_grad():
        outputs = probe.module(*probe.inputs)
    if not isinstance(outputs, tuple | list) or len(outputs) != 2:
        raise PluginError(f"returned {_shown(outputs)}, expected the pair (map, pooled or None).")
    features, pooled = outputs
    _check_rows(features, 2 + spec.spatial_dims, f"map (N, F, *grid) of a {spec.spatial_dims}D net")
    if (pooled is not None) != spec.native_pooling:
        raise PluginError(
            f"native_pooling is {spec.native_pooling}, but pooled is {_shown(pooled)}."
        )
    if pooled is not None:
        _check_rows(pooled, 2, "pooled (N, P)")


def stages_are_true(probe: Probe) -> None:
    """Pass if the stem and every stage exist and give the declared width and layout."""
    spec = _spec(probe, BackboneSpec)
    if not spec.stages and not spec.stem:
        raise NotApplicable("no stem or stages declared: the source cannot be cut")
    modules = dict(probe.module.named_modules())
    for path in [spec.stem, *(stage.module_path for stage in spec.stages)]:
        if path and path not in modules:
            raise PluginError(f"the network has no submodule {path!r}, declared as stem or stage.")
    seen = stage_outputs(probe.module, spec, probe.inputs[0])
    for stage in spec.stages:
        if stage.module_path not in seen:
            raise PluginError(f"stage {stage.name!r} ({stage.module_path}) is not used in forward.")
        _check_stage(stage, seen[stage.module_path], probe)


def stage_outputs(module: nn.Module, spec: BackboneSpec, image: Tensor) -> dict[str, Any]:
    """Return what the submodule of each stage gives for an image, by its path."""
    seen: dict[str, Any] = {}

    def remember(path: str) -> Any:
        return lambda _module, _inputs, output: seen.update({path: output})

    paths = {stage.module_path for stage in spec.stages}
    hooks = [module.get_submodule(p).register_forward_hook(remember(p)) for p in paths]
    try:
        with torch.no_grad():
            module(image)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def stage_width(stage: Stage, output: Tensor) -> int:
    """Return the number of features in a stage's output."""
    return output.shape[1] if stage.layout == "grid" else output.shape[-1]


def fusion_shapes(probe: Probe) -> None:
    """Pass if the product has ``out_dim`` and gives ``(fused (N, out_dim), shares or None)``."""
    _check_fused(probe, _out_dim(probe))


def decision_shapes(probe: Probe) -> None:
    """Pass if the product gives ``(logits (N, K), shares (N, S) or None)``."""
    _check_fused(probe, probe.arguments[1])


def one_source_is_enough(probe: Probe) -> None:
    """Pass if a fusion of a single source works, as `compare` needs for its baselines."""
    alone = probe_fusion(_spec(probe, FeatureFusionSpec), IN_DIMS[:1])
    _check_fused(alone, _out_dim(alone))


def masked_sources_count_nothing(probe: Probe) -> None:
    """Pass if the values of an absent source change nothing and its share is zero."""
    if not getattr(probe.spec, "handles_missing", False):
        raise NotApplicable("handles_missing is False: cases that lack an input are refused")
    *features, mask = probe.inputs
    mask = mask.clone()
    mask[0, 1] = 0
    outputs = probe.call(probe.module, [*features, mask])
    changed = [x.clone() for x in features]
    absent = changed[1] if probe.listed else changed[0][:, 1]
    absent[0] = 1e3
    otherwise = "the values of an absent source change the result; handles_missing is not kept"
    check_close(outputs, probe.call(probe.module, [*changed, mask]), otherwise)
    for shares in outputs[1:]:
        _check_shares(shares, mask)


def fitting_is_true(probe: Probe) -> None:
    """Pass if a combiner of decisions has parameters where its spec says so, and only there."""
    spec = _spec(probe, DecisionFusionSpec)
    count = sum(parameter.numel() for parameter in probe.module.parameters())
    if (count > 0) != (spec.fitting == "out_of_fold"):
        raise PluginError(
            f"fitting is {spec.fitting!r}, but the product has {count} parameters: 'none' goes "
            "with none, 'out_of_fold' with some."
        )


def head_shapes(probe: Probe) -> None:
    """Pass if the product gives ``(N, output_dim(K))`` for two and more classes."""
    spec = _spec(probe, HeadSpec)
    for classes in (2,) if spec.single_logit else (2, 3, 7):
        found = probe_head(spec, classes).outputs[0]
        expected = (ROWS, spec.output_dim(classes))
        if tuple(found.shape) != expected:
            raise PluginError(f"gave {_shown(found)} for {classes} classes, expected {expected}.")


def _out_dim(probe: Probe) -> int:
    out_dim = getattr(probe.module, "out_dim", None)
    if not isinstance(out_dim, int):
        raise PluginError(f"out_dim is {out_dim!r}, expected the width of the fused features.")
    return out_dim


def _check_fused(probe: Probe, width: int) -> None:
    with torch.no_grad():
        outputs = _raw(probe)
    if not isinstance(outputs, tuple | list) or len(outputs) != 2:
        raise PluginError(f"returned {_shown(outputs)}, expected the pair (fused, shares or None).")
    fused, shares = outputs
    if not isinstance(fused, Tensor) or tuple(fused.shape) != (ROWS, width):
        raise PluginError(f"fused is {_shown(fused)}, expected ({ROWS}, {width}).")
    if shares is not None:
        _check_shares(shares, probe.inputs[-1])


def _raw(probe: Probe) -> Any:
    *features, mask = probe.inputs
    return probe.module(features, mask) if probe.listed else probe.module(*probe.inputs)


def _check_shares(shares: Any, mask: Tensor) -> None:
    if not isinstance(shares, Tensor) or shares.shape != mask.shape:
        raise PluginError(f"shares are {_shown(shares)}, expected {tuple(mask.shape)}.")
    if bool((shares < 0).any()):
        raise PluginError("shares are negative, expected values from 0 to 1.")
    check_close([torch.ones(len(mask))], [shares.sum(1)], "shares do not sum to 1")
    check_close([shares * mask], [shares], "an absent source has a share")


def _check_stage(stage: Stage, output: Any, probe: Probe) -> None:
    image = probe.inputs[0]
    ndim = 3 if stage.layout == "tokens" else image.ndim
    if not isinstance(output, Tensor) or output.ndim != ndim:
        raise PluginError(f"stage {stage.name!r} gives {_shown(output)}, not {stage.layout}.")
    width = stage_width(stage, output)
    if stage.feature_dim not in (0, width):
        raise PluginError(
            f"stage {stage.name!r} gives {width} features, declared is {stage.feature_dim}."
        )
    if stage.stride and stage.layout != "tokens":
        cells = output.shape[2] if stage.layout == "grid" else output.shape[1]
        # Without padding, a stride of 2 loses one element of an even number.
        if abs(image.shape[2] / stage.stride - cells) > 1:
            raise PluginError(
                f"stage {stage.name!r} gives {cells} elements for {image.shape[2]} pixels, "
                f"which is not stride {stage.stride}."
            )


def _check_rows(output: Any, ndim: int, expected: str) -> None:
    good = isinstance(output, Tensor) and output.ndim == ndim and len(output) == ROWS
    if not good or output.dtype != torch.float32:
        raise PluginError(f"returned {_shown(output)}, expected {expected} in float32, N = {ROWS}.")


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return "None" if value is None else type(value).__name__


def _spec(probe: Probe, spec_type: type) -> Any:
    if not isinstance(probe.spec, spec_type):
        raise TypeError(f"{probe.spec.name} is no {spec_type.__name__}")
    return probe.spec
