"""Decide what a backbone is fed: the weights' input contract, where nobody overrules it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medfuse.config import SourceConfig
from medfuse.contract import BackboneSpec, WeightsSpec, resolve_options
from medfuse.errors import SourceError

_IMG_SIZE = "img_size"
_ANY_SIZE = "dynamic_img_size"


@dataclass(frozen=True)
class SourceTarget:
    """What a source is built for.

    Attributes:
        channels: of the canonical image.
        size: spatial size of the canonical image.
        tokens: give the tokens of a grid instead of one vector.
        seed: for weights called ``random``.
        download: allow the network.
        grid: tokens along each axis.
        slices: of a volume, seen one by one by a network for images; 0 for whole images.
    """

    channels: int
    size: tuple[int, ...]
    tokens: bool = False
    seed: int = 0
    download: bool = False
    grid: int = 4
    slices: int = 0

    @property
    def spatial_dims(self) -> int:
        """Axes of what the backbone sees."""
        return len(self.size)

    def for_backbone(self, spec: BackboneSpec, config: SourceConfig) -> SourceTarget:
        """Return the target that a backbone for images has on volumes: their slices.

        Raises:
            SourceError: the fusion wants a map of each slice.
        """
        if spec.spatial_dims != 2 or self.spatial_dims != 3:
            return self
        if self.tokens:
            raise SourceError(
                f"source {config.use}: sees the slices of a volume, but the fusion takes feature "
                "maps. Use a fusion of vectors (attention, concat, ...) or a 3D source."
            )
        return replace(self, size=self.size[:2], slices=self.size[2])


@dataclass(frozen=True)
class InputContract:
    """How the image reaches the backbone.

    Attributes:
        size: spatial size that the backbone gets.
        adapter: keywords of `Adapter`.
        options: keywords of the backbone's factory.
    """

    size: tuple[int, ...]
    adapter: dict[str, Any]
    options: dict[str, Any]


def input_contract(
    spec: BackboneSpec, weights: WeightsSpec | None, config: SourceConfig, target: SourceTarget
) -> InputContract:
    """Return the contract of ``weights`` with what the configuration says instead.

    An option ``img_size``, where the backbone has it, is kept equal to the input size, unless
    ``dynamic_img_size`` says that a network built for one size takes others (transformers of timm,
    which then interpolate their position embeddings).

    Args:
        spec: the backbone.
        weights: whose contract holds; ``None`` for an untrained network, which takes the
            canonical image at its own size where the architecture can.
        config: the source's settings.
        target: what it is built for.

    Raises:
        SourceError: dimensions or channels do not fit.
        ConfigError: an unknown option.
    """
    _check_fit(spec, config, target)
    options = resolve_options(
        spec.options, config.options, f"source {config.use}", open_ended=spec.open_options
    )
    size = _size(spec, weights, config, target)
    follows = any(option.name == _IMG_SIZE for option in spec.options)
    if follows and not options.get(_ANY_SIZE):
        options = _with_img_size(options, config, size)
        size = tuple(options.get(_IMG_SIZE, size))
    shape = {"image_size": list(target.size), "size": list(size)}
    adapter = {**_normalization(spec, weights, config), **shape}
    return InputContract(size, adapter, options)


def _check_fit(spec: BackboneSpec, config: SourceConfig, target: SourceTarget) -> None:
    where = f"source {config.use}"
    if spec.spatial_dims != target.spatial_dims:
        raise SourceError(
            f"{where}: takes {spec.spatial_dims}D images, but its input is {target.spatial_dims}D."
        )
    if target.channels not in (1, spec.in_channels) and spec.in_channels != 1:
        raise SourceError(
            f"{where}: takes {spec.in_channels} channels, but its input has {target.channels}. "
            f"Set channels of the input to 1 or {spec.in_channels}."
        )
    if config.input_size is not None and len(config.input_size) != spec.spatial_dims:
        raise SourceError(
            f"{where}: input_size is {list(config.input_size)}, expected {spec.spatial_dims} "
            "numbers."
        )


def _size(
    spec: BackboneSpec, weights: WeightsSpec | None, config: SourceConfig, target: SourceTarget
) -> tuple[int, ...]:
    if config.input_size is not None:
        return tuple(config.input_size)
    if weights is not None:
        return _size_of(weights, spec, config) or target.size
    default = spec.weights[0] if spec.weights else None
    policy = default.size_policy if default else "any"
    if default is not None and policy == "fixed":
        return _size_of(default, spec, config)
    step = int(policy.partition(":")[2]) if policy.startswith("multiple_of:") else 1
    return tuple(-(-pixels // step) * step for pixels in target.size)


def _size_of(weights: WeightsSpec, spec: BackboneSpec, config: SourceConfig) -> tuple[int, ...]:
    """Return the size that weights declare; empty if they declare none."""
    size = tuple(weights.input_size)
    if size and len(size) != spec.spatial_dims:
        raise SourceError(
            f"source {config.use}: weights {weights.name!r} declare input_size {list(size)}, "
            f"expected {spec.spatial_dims} numbers. Set input_size, or mend their description."
        )
    return size


def _with_img_size(
    options: Mapping[str, Any], config: SourceConfig, size: Sequence[int]
) -> dict[str, Any]:
    given = options.get(_IMG_SIZE)
    if given is None:
        return {**options, _IMG_SIZE: list(size)} if config.input_size is not None else {**options}
    if config.input_size is not None and list(given) != list(config.input_size):
        raise SourceError(
            f"source {config.use}: input_size is {list(config.input_size)} but option img_size is "
            f"{list(given)}. Give one of them."
        )
    return dict(options)


def _normalization(
    spec: BackboneSpec, weights: WeightsSpec | None, config: SourceConfig
) -> dict[str, Any]:
    known = weights or (spec.weights[0] if spec.weights else WeightsSpec(name="none"))
    chosen = config.normalization or known.normalization
    return {
        "channels": spec.in_channels,
        "mean": list(chosen.mean),
        "std": list(chosen.std),
        "input_range": list(chosen.input_range),
        "per_image": chosen.scheme == "per_image",
        "color_order": known.color_order if spec.in_channels == 3 else "RGB",
        "interpolation": "bilinear" if known.interpolation == "trilinear" else known.interpolation,
    }
