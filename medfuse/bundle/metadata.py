"""``metadata.json``: what MONAI, MONAI Label and MONAI Deploy read about a bundle."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from medfuse.bundle.licenses import strictest
from medfuse.bundle.request import BundleRequest

FORMAT = 1
SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
INTENDED_USE = (
    "Research on classification of {modality} images into: {classes}. "
    "Not a medical device; not for diagnosis or treatment of patients."
)
_MODALITIES = {"XR": "X-ray", "CT": "CT", "MR": "MR", "other": "medical"}


def metadata(request: BundleRequest, packages: dict[str, str]) -> dict[str, Any]:
    """Return the document; every value in it was found to matter to one of its readers.

    Args:
        request: what the bundle is made of.
        packages: distribution -> version that the scripts need.
    """
    return {
        "schema": SCHEMA,
        "version": request.version,
        "changelog": {request.version: f"written by medfuse {version('medfuse')}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": packages,
        "supported_apps": {},
        "name": request.name,
        "task": f"Classification of {modality(request)} images",
        "description": description(request),
        "authors": request.authors,
        "copyright": f"{request.authors} Licensed under {license_of(request)}.",
        "data_source": request.data,
        "data_type": ", ".join(suffix.lstrip(".") for suffix in request.suffixes),
        "image_classes": f"canonical {modality(request)} image in [0, 1]",
        "pred_classes": ", ".join(request.classes),
        "eval_metrics": dict(request.metrics),
        "intended_use": intended_use(request),
        "references": sorted({s.citation for s in request.provenance.sources if s.citation}),
        "network_data_format": {
            "inputs": {"image": _image(request)},
            "outputs": {"pred": _pred(request)},
        },
        "medfuse": _provenance(request),
    }


def license_of(request: BundleRequest) -> str:
    """Return the SPDX expression of the bundle: as given, else the strictest of its parts."""
    parts = [source.license for source in request.provenance.sources]
    return request.license or strictest([*parts, "Apache-2.0"]).expression


def modality(request: BundleRequest) -> str:
    """Return the modality in words."""
    return _MODALITIES.get(request.input.modality, request.input.modality)


def description(request: BundleRequest) -> str:
    """Return the given description, or one sentence made from the parts."""
    sources = ", ".join(source.label for source in request.provenance.sources)
    return request.description or (
        f"Classifies {modality(request)} images by the fused features of {sources}."
    )


def intended_use(request: BundleRequest) -> str:
    """Return for what the bundle is meant, and for what not."""
    return INTENDED_USE.format(modality=modality(request), classes=", ".join(request.classes))


def _image(request: BundleRequest) -> dict[str, Any]:
    return {
        "type": "image",
        "format": "magnitude",
        "modality": request.input.modality,
        "num_channels": request.input.channels,
        "spatial_shape": list(request.input.size),
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {str(c): f"channel {c}" for c in range(request.input.channels)},
    }


def _pred(request: BundleRequest) -> dict[str, Any]:
    return {
        "type": "probabilities",
        "format": "classes",
        "num_channels": len(request.classes),
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {str(i): name for i, name in enumerate(request.classes)},
    }


def _provenance(request: BundleRequest) -> dict[str, Any]:
    parts = [source.license for source in request.provenance.sources]
    verdict = strictest([*parts, license_of(request)])
    return {
        "format": FORMAT,
        "version": version("medfuse"),
        "link": request.link,
        "temperature": float(request.network.temperature),
        "license": license_of(request),
        "commercial_use": verdict.commercial,
        "unknown_licenses": list(verdict.unknown),
        "sources": [asdict(source) for source in request.provenance.sources],
        "split_digest": request.provenance.split_digest,
        "graph_only": list(request.graph_only),
        "details": dict(request.provenance.details),
    }
