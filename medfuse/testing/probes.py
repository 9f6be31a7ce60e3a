"""Build a component with its default options and give it inputs of the contract's shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from medfuse.contract import (
    BackboneSpec,
    ComponentSpec,
    DecisionFusionSpec,
    FeatureFusionSpec,
    HeadSpec,
    resolve_options,
)
from medfuse.errors import PluginError
from medfuse.registry import load_factory
from medfuse.testing.isolated import invoke

ROWS = 3
IN_DIMS = (6, 9, 4)
_TOKENS = (4, 9, 1)
_CLASSES = 4
_IN_DIM = 10
FREE_SIDE = {2: 96, 3: 64}
_IMG_SIZE = "img_size"


@dataclass
class Probe:
    """A component ready to be tried.

    Attributes:
        spec: the component.
        arguments: positional arguments of its factory.
        inputs: what its product is called with, `ROWS` rows each.
        listed: all inputs but the last are one list.
        given: options over the default ones.
    """

    spec: ComponentSpec
    arguments: tuple[Any, ...]
    inputs: tuple[Tensor, ...]
    listed: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def options(self) -> dict[str, Any]:
        """The component's default options, and those of the probe."""
        return resolve_options(self.spec.options, self.given, self.spec.name)

    @cached_property
    def module(self) -> nn.Module:
        """One product of the factory, in eval mode."""
        return self.build(seed=0)

    @cached_property
    def outputs(self) -> list[Tensor]:
        """What `module` makes of the inputs."""
        return self.call(self.module)

    def build(self, seed: int) -> nn.Module:
        """Return a new product of the factory, in eval mode, initialized from a seed."""
        factory = load_factory(self.spec)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = factory(*self.arguments, **self.options)
        if not isinstance(module, nn.Module):
            found = type(module).__name__
            raise PluginError(f"the factory gave a {found}, expected a torch.nn.Module.")
        return module.eval()

    def call(self, module: nn.Module, inputs: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Return the outputs of a module, without gradients, ``None`` left out."""
        with torch.no_grad():
            return invoke(module, self.inputs if inputs is None else inputs, self.listed)


def probe_backbone(spec: BackboneSpec, side: Mapping[int, int] | None = None) -> Probe:
    """Return a probe with images ``(N, in_channels, *spatial)`` of a size the weights allow.

    Args:
        spec: the backbone.
        side: of the image, by its dimensions, where the network takes any; `FREE_SIDE` by
            default. A network that is built for one size gets the option ``img_size``.
    """
    free = (side or FREE_SIDE)[spec.spatial_dims]
    size = _image_size(spec, free)
    fixed = spec.weights[0].input_size if spec.weights and _is_fixed(spec) else size
    given = {} if size == fixed else {_IMG_SIZE: list(size)}
    image = torch.rand(ROWS, spec.in_channels, *size)
    return Probe(spec, (), (image,), given=given)


def probe_fusion(spec: FeatureFusionSpec, in_dims: tuple[int, ...] = IN_DIMS) -> Probe:
    """Return a probe with features of ``len(in_dims)`` sources, all present."""
    if spec.accepts == "maps":
        features = [torch.randn(ROWS, t, f) for t, f in zip(_TOKENS, in_dims, strict=False)]
    else:
        features = [torch.randn(ROWS, f) for f in in_dims]
    return Probe(spec, (list(in_dims),), (*features, torch.ones(ROWS, len(in_dims))), listed=True)


def probe_decision(spec: DecisionFusionSpec) -> Probe:
    """Return a probe with log-probabilities of three sources, all present."""
    logits = torch.randn(ROWS, len(IN_DIMS), _CLASSES).log_softmax(-1)
    return Probe(spec, (len(IN_DIMS), _CLASSES), (logits, torch.ones(ROWS, len(IN_DIMS))))


def probe_head(spec: HeadSpec, num_classes: int | None = None) -> Probe:
    """Return a probe with fused features ``(N, F)``."""
    classes = num_classes or (2 if spec.single_logit else _CLASSES)
    return Probe(spec, (_IN_DIM, classes), (torch.randn(ROWS, _IN_DIM),))


def probe_of(spec: ComponentSpec, side: Mapping[int, int] | None = None) -> Probe | None:
    """Return a probe of a component whose product is a network; ``None`` for other kinds.

    Args:
        spec: the component.
        side: as in `probe_backbone`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if isinstance(spec, BackboneSpec):
            return probe_backbone(spec, side)
        if isinstance(spec, FeatureFusionSpec):
            return probe_fusion(spec)
        if isinstance(spec, DecisionFusionSpec):
            return probe_decision(spec)
        return probe_head(spec) if isinstance(spec, HeadSpec) else None


def _is_fixed(spec: BackboneSpec) -> bool:
    return bool(spec.weights) and spec.weights[0].size_policy == "fixed"


def _image_size(spec: BackboneSpec, free: int) -> tuple[int, ...]:
    """Return the smallest convenient size that the network accepts with its first weights."""
    if not spec.weights:
        return (free,) * spec.spatial_dims
    weights = spec.weights[0]
    step = int(weights.size_policy.partition(":")[2] or 1)
    if _is_fixed(spec):
        step = spec.stages[-1].stride if spec.stages else 0
        if not step or all(option.name != _IMG_SIZE for option in spec.options):
            return weights.input_size
    return (-(-free // step) * step,) * spec.spatial_dims
