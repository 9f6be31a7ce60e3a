"""Measure a backbone: width, parameters and multiply-adds, without memory for its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from medfuse.contract import BackboneSpec, WeightsSpec, resolve_options
from medfuse.errors import PluginError
from medfuse.registry.factories import load_factory
from medfuse.registry.measurements import Measurement

_FREE_SIZE = {2: 224, 3: 96}
_OPERATIONS_PER_MAC = 2


def measure_backbone(spec: BackboneSpec) -> Measurement:
    """Return what a backbone gives for one image of the size its default weights were trained at.

    Where these take any size, it is 224 x 224 or 96 x 96 x 96. Multiply-adds are half of the
    operations that `torch.utils.flop_counter` counts: convolutions, matrix products, attention.

    Args:
        spec: the backbone; the first weights count.

    Raises:
        PluginError: it cannot be built or run.
    """
    weights = spec.weights[0] if spec.weights else WeightsSpec(name="none", input_size=())
    size = weights.input_size or (_FREE_SIZE[spec.spatial_dims],) * spec.spatial_dims
    build = _builder(spec)
    try:
        with torch.device("meta"):
            module = build()
        features, pooled, operations = _run(module, spec.in_channels, size)
    except (NotImplementedError, RuntimeError):  # it reads values of tensors
        module = build()
        features, pooled, operations = _run(module, spec.in_channels, size)
    published = bool(weights.path or weights.url or weights.hub_id)
    return Measurement(
        spatial_dims=spec.spatial_dims,
        input_size=tuple(size),
        feature_map=tuple(features.shape[1:]),
        width=int((features if pooled is None else pooled).shape[1]),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        macs=operations // _OPERATIONS_PER_MAC,
        domain=weights.source_domain if published else "",
        license=weights.license if published else "",
    )


def _builder(spec: BackboneSpec) -> Callable[[], nn.Module]:
    factory = load_factory(spec)
    options = resolve_options(spec.options, {}, spec.name)

    def build() -> nn.Module:
        with torch.random.fork_rng(devices=()):
            module = factory(**options)
        if not isinstance(module, nn.Module):
            found = type(module).__name__
            raise PluginError(f"{spec.name}: the factory gave a {found}, expected a Module.")
        return module.eval()

    return build


def _run(
    module: nn.Module, channels: int, size: tuple[int, ...]
) -> tuple[Tensor, Tensor | None, int]:
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    image = torch.zeros(1, channels, *size, device=device)
    counter: Any = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        features, pooled = module(image)
    return features, pooled, int(counter.get_total_flops())
