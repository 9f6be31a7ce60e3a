"""Describe a built source as plain data: for the feature bank, for bundles, for reports."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from medfuse.contract import BackboneSpec, PublicTarget, VendoredSource, WeightsSpec
from medfuse.registry.vendoring import vendored_target

_SOURCE = "medfuse.backbones.source"
_ADAPTER = "medfuse.backbones.adapter"
_CUT = "medfuse.backbones.cut"
_LEVELS = "medfuse.backbones.levels"
_SLICES = "medfuse.backbones.slices"
UNKNOWN_LICENSE = "LicenseRef-unknown"


def source_node(
    backbone: dict[str, Any] | None, adapter: Mapping[str, Any], keywords: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the MONAI configuration node that rebuilds a source without its weights.

    Args:
        backbone: from `backbone_node`; ``None`` where the backbone cannot be rebuilt.
        adapter: keywords of `Adapter`.
        keywords: keywords of `Source` beside the two modules.
    """
    if backbone is None:
        return None
    return {
        "_target_": vendored_target(f"{_SOURCE}:Source"),
        "backbone": backbone,
        "adapter": {"_target_": vendored_target(f"{_ADAPTER}:Adapter"), **adapter},
        **keywords,
    }


def backbone_node(
    spec: BackboneSpec, options: Mapping[str, Any], cut: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Return the configuration node of a backbone, perhaps cut; ``None`` for ``GraphOnly``."""
    node: dict[str, Any]
    if isinstance(spec.export, PublicTarget):
        node = {"_target_": spec.export.target, **options, **spec.export.kwargs}
    elif isinstance(spec.export, VendoredSource):
        node = {"_target_": vendored_target(spec.factory), **options}
    else:
        return None
    if cut is None:
        return node
    return {"_target_": vendored_target(f"{_CUT}:CutBackbone"), "backbone": node, **cut}


def levels_node(
    backbone: dict[str, Any] | None, levels: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the node of a backbone that gives features of several stages."""
    if backbone is None:
        return None
    target = vendored_target(f"{_LEVELS}:LevelsBackbone")
    return {"_target_": target, "backbone": backbone, **levels}


def sliced_node(source: dict[str, Any] | None, slices: int) -> dict[str, Any] | None:
    """Return the node of a source for images that sees the slices of a volume."""
    if source is None:
        return None
    target = vendored_target(f"{_SLICES}:SlicedSource")
    return {"_target_": target, "source": source, "slices": slices}


def vendored_modules(
    spec: BackboneSpec, *, cut: bool, levels: bool = False, sliced: bool = False
) -> tuple[str, ...]:
    """Return the modules whose files a bundle needs."""
    own = spec.export.modules if isinstance(spec.export, VendoredSource) else ()
    needed = {_CUT: cut, _LEVELS: levels, _SLICES: sliced}
    return (_SOURCE, _ADAPTER, *(name for name, used in needed.items() if used), *own)


def required_distributions(spec: BackboneSpec) -> tuple[str, ...]:
    """Return the distributions that building the backbone needs, in a bundle too."""
    exported = () if not hasattr(spec.export, "requires") else spec.export.requires
    return tuple(dict.fromkeys((*exported, *spec.requires)))


def provider_versions(spec: BackboneSpec) -> dict[str, str]:
    """Return the installed version of each distribution that the backbone comes from."""
    names = [re.split(r"[\s<>=!~;\[]", text)[0] for text in required_distributions(spec)]
    return {name: version(name) for name in names}


def export_target(spec: BackboneSpec) -> str:
    """Return what builds the backbone, as an importable path."""
    return spec.export.target if isinstance(spec.export, PublicTarget) else spec.factory


def stated_license(published: str, stated: str | None) -> str:
    """Return the license of weights: as published, and as stated where that says something else.

    What is stated replaces only what nobody else tells; a published license holds beside it.
    """
    if not stated or stated == published:
        return published or UNKNOWN_LICENSE
    if published in ("", UNKNOWN_LICENSE):
        return stated
    parts = (f"({text})" if " OR " in text else text for text in (published, stated))
    return " AND ".join(parts)


def weights_card(weights: WeightsSpec | None, *, known: bool) -> dict[str, Any]:
    """Return origin and license of weights.

    Args:
        weights: the description; ``None`` for an untrained network.
        known: whether the file is what the description is of. Of a file of one's own nothing is
            known.
    """
    if weights is None:
        empty = WeightsSpec(name="random", source_domain="none", license="Apache-2.0")
        return weights_card(empty, known=True)
    if not known:
        return weights_card(WeightsSpec(name="file"), known=True)
    return {
        "weights": weights.name,
        "domain": weights.source_domain,
        "training_data": list(weights.training_data),
        "license": weights.license,
        "citation": weights.citation,
    }
