"""Verify: the text of a source -> what its weights are, after they were loaded and tried."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from medfuse.backbones.build import BuiltSource, SourceTarget, build_source
from medfuse.config import SourceConfig
from medfuse.contract import BackboneSpec, WeightsSpec
from medfuse.errors import SourceError
from medfuse.registry import load_registry, parse_source, select_weights

_SIDE = {2: 64, 3: 32}
_IMAGES = 2


@dataclass(frozen=True)
class VerifiedSource:
    """A source whose weights fit, and which gives finite features.

    Attributes:
        source: as asked for, without the folder of a file.
        file: name of the weights file; ``None`` for an untrained network.
        sha256: of that file.
        published: whether the weights name this digest; ``None`` where they name none.
        left_out: keys of the file that belong to no part of the backbone.
        input_size: what the backbone gets.
        feature_dim: width of the features.
        license: of the weights.
    """

    source: str
    file: str | None
    sha256: str | None
    published: bool | None
    left_out: tuple[str, ...]
    input_size: tuple[int, ...]
    feature_dim: int
    license: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def verify_source(use: str, *, download: bool = False) -> VerifiedSource:
    """Load a source as a run would, and look at the features of generated images.

    Args:
        use: as in a configuration: ``plugin:name.weights`` or ``plugin:name@FILE``.
        download: allow the weights to be fetched.

    Raises:
        SourceError: the source is unknown, cannot be built, or gives values that are not finite.
        WeightsError: the weights are absent, unsafe, have another digest or do not fit.
    """
    registry = load_registry()
    reference = parse_source(use)
    _, spec = registry.backbone(reference)
    side = _SIDE[spec.spatial_dims]
    target = SourceTarget(_channels(spec), (side,) * spec.spatial_dims, download=download)
    built = build_source(SourceConfig(use=use), registry, target)
    _require_features(built, target)
    weights = select_weights(spec, reference)
    return VerifiedSource(
        source=built.label,
        file=built.card["file"],
        sha256=built.card["sha256"],
        published=_is_published(weights, built.card["sha256"]),
        left_out=tuple(built.card["left_out"]),
        input_size=tuple(built.identity["input_size"]),
        feature_dim=built.feature_dim,
        license=built.card["license"],
    )


def _channels(spec: BackboneSpec) -> int:
    """Return what any source takes: one channel, which is repeated where it needs more."""
    return 1 if spec.in_channels == 3 else spec.in_channels


def _require_features(built: BuiltSource, target: SourceTarget) -> None:
    """Pass if noise, and a black image, each give a row of finite features.

    Raises:
        SourceError: they do not.
    """
    seeded = torch.Generator().manual_seed(0)
    noise = torch.rand(_IMAGES, target.channels, *target.size, generator=seeded)
    with torch.no_grad():
        features = built.module(torch.cat([noise, torch.zeros_like(noise[:1])]))
    if tuple(features.shape) != (_IMAGES + 1, built.feature_dim):
        raise SourceError(
            f"source {built.label}: gives {tuple(features.shape)} for {_IMAGES + 1} images, "
            f"expected {(_IMAGES + 1, built.feature_dim)}: its shape depends on the batch."
        )
    bad = int((~torch.isfinite(features)).sum())
    if bad:
        raise SourceError(
            f"source {built.label}: {bad} of {features.numel()} features of generated images are "
            "NaN or infinite. The weights are damaged, or are for another network."
        )


def _is_published(weights: WeightsSpec | None, sha256: str | None) -> bool | None:
    if weights is None or weights.sha256 is None or sha256 is None:
        return None
    return weights.sha256 == sha256
