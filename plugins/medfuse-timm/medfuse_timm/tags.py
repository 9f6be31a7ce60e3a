"""Describe weights: timm's pretrained configurations, one for each tag -> `WeightsSpec`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medfuse.contract import Normalization, WeightsSpec
from medfuse_timm.medical import medical_weights

_SPDX = {
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0",
}
_DATA = {
    "in1k": "imagenet1k",
    "in12k": "imagenet12k",
    "in21k": "imagenet21k",
    "in22k": "imagenet22k",
    "jft": "jft300m",
    "yfcc100m": "yfcc100m",
    "ig1b": "instagram1b",
    "laion400m": "laion400m",
    "laion2b": "laion2b",
    "laiona": "laion-aesthetics",
    "datacompxl": "datacomp1b",
    "dfn2b": "dfn2b",
    "dfn5b": "dfn5b",
    "metaclip": "metaclip",
    "openai": "openai-wit",
    "webli": "webli",
    "merged2b": "merged2b",
    "lvd142m": "lvd142m",
    "lvd1689m": "lvd1689m",
    "inat21": "inaturalist2021",
}


def weights_of(name: str, default: Mapping[str, Any]) -> tuple[WeightsSpec, ...]:
    """Return the weights that timm has for an architecture, its default first.

    An architecture without any gets one entry called ``untagged``: the input contract that timm
    gives the architecture, for files of one's own.

    Args:
        name: the architecture.
        default: its default configuration.
    """
    import timm

    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    first = default.get("tag") or ""
    ordered = sorted(tags, key=lambda tag: tag != first)
    if not ordered:
        return (_weights("untagged", default),)
    own = (_weights(tag, _configuration(f"{name}.{tag}")) for tag in ordered)
    return (*own, *medical_weights(name))


def training_data(tag: str) -> tuple[str, ...]:
    """Return the data sets that a tag such as ``augreg_in21k_ft_in1k`` names.

    >>> training_data("augreg_in21k_ft_in1k")
    ('imagenet21k', 'imagenet1k')
    """
    parts = tag.replace("-", "_").split("_")
    return tuple(dict.fromkeys(_DATA[part] for part in parts if part in _DATA))


def _configuration(full_name: str) -> dict[str, Any]:
    from timm.models import get_pretrained_cfg

    found: Any = get_pretrained_cfg(full_name, allow_unregistered=False)
    return dict(found.to_dict(remove_null=False)) if found else {}


def _weights(tag: str, config: Mapping[str, Any]) -> WeightsSpec:
    interpolation = config.get("interpolation")
    hub = config.get("hf_hub_id")
    file = config.get("hf_hub_filename")
    return WeightsSpec(
        name=tag,
        source_domain="natural images",
        training_data=training_data(tag),
        normalization=Normalization(mean=tuple(config["mean"]), std=tuple(config["std"])),
        input_size=tuple(config["input_size"][1:]),
        size_policy="fixed" if config.get("fixed_input_size") else "any",
        interpolation=interpolation if interpolation in ("bilinear", "bicubic") else "bilinear",
        crop_pct=float(config.get("crop_pct") or 1.0),
        license=_license(config.get("license")),
        url=None if hub else config.get("url") or None,
        hub_id=f"{hub}/{file}" if hub and file else hub or None,
        citation=_citation(config),
        remap=_remap(config.get("classifier")),
    )


def _license(text: str | None) -> str:
    if not text:
        return "LicenseRef-unknown"
    return _SPDX.get(text.lower(), f"LicenseRef-{text}")


def _citation(config: Mapping[str, Any]) -> str:
    parts = [config.get("paper_name"), config.get("paper_ids"), config.get("origin_url")]
    return "; ".join(str(part) for part in parts if part)


def _remap(classifiers: str | tuple[str, ...] | None) -> dict[str, str]:
    """Put the keys below the wrapper's ``net``, and leave the classifier's out."""
    named = (classifiers,) if isinstance(classifiers, str) else classifiers or ()
    return {"": "net.", **{f"{name}.": "-" for name in named}}
