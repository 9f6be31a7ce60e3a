"""Every source whose weights are on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import torch

from medfuse.backbones.locate import locate_weights
from medfuse.contract import BackboneFamilySpec, BackboneSpec
from medfuse.errors import MedfuseError, WeightsError
from medfuse.registry import Registry, describe_backbone, family_names, parse_source
from medfuse.storage import cache_folder


def local_sources(registry: Registry, spatial_dims: int) -> list[str]:
    """Return the names of all sources that can be built without the network.

    A family has too many members to describe them all. Those are asked for whose name occurs in
    the name of a file or model in a weights cache.

    Args:
        registry: knows the backbones.
        spatial_dims: 3 gives networks for volumes too; networks for images take their slices.
    """
    found = [
        f"{plugin}:{spec.name}.{weights.name}"
        for plugin, spec in _described(registry)
        if spec.spatial_dims <= spatial_dims
        for weights in spec.weights
        if _is_here(f"{plugin}:{spec.name}.{weights.name}", spec)
    ]
    return list(dict.fromkeys(found))


def _described(registry: Registry) -> Iterator[tuple[str, BackboneSpec]]:
    for plugin, spec in registry.components("backbone"):
        if isinstance(spec, BackboneSpec):
            yield plugin, spec
    cached = "\n".join(_plain(name) for name in _cached_names())
    for _, family in registry.families() if cached else ():
        yield from _members(family, cached)


def _members(family: BackboneFamilySpec, cached: str) -> Iterator[tuple[str, BackboneSpec]]:
    for name in family_names(family):
        if _plain(name) in cached:
            try:
                yield family.name, describe_backbone(family, name)
            except MedfuseError:  # a member that cannot be a source is no candidate
                continue


def _is_here(use: str, spec: BackboneSpec) -> bool:
    reference = parse_source(use)
    weights = next(w for w in spec.weights if w.name == reference.weights)
    try:
        return locate_weights(reference, weights).is_file()
    except WeightsError:
        return False


def _cached_names() -> Iterator[str]:
    """Yield the names of files and models in the caches that weights are looked for in."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = (cache_folder() / "weights", Path(torch.hub.get_dir()) / "checkpoints")
    for folder in (*folders, Path(HF_HUB_CACHE)):
        if folder.is_dir():
            yield from (entry.name for entry in folder.iterdir())


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
