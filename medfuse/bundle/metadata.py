"""``metadata.json``: what MONAI, MONAI Label and MONAI Deploy read about a bundle."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from medfuse.bundle.license_gate import accepted_terms
from medfuse.bundle.licenses import strictest
from medfuse.bundle.nodes import reads_dicom
from medfuse.bundle.request import BundleRequest, InputSpec
from medfuse.bundle.requirements import optional_decoders

FORMAT = 1
SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
INTENDED_USE = (
    "Research on classification of {subject} into: {classes}. "
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
        "task": f"Classification of {subject(request)}",
        "description": description(request),
        "authors": request.authors,
        "copyright": copyright_of(request),
        "data_source": request.data,
        "data_type": ", ".join(file_types(request)),
        "image_classes": "; ".join(map(_seen, request.inputs)),
        "pred_classes": ", ".join(request.classes),
        "eval_metrics": dict(request.metrics),
        "intended_use": intended_use(request),
        "references": sorted(
            {*request.references, *(s.citation for s in request.provenance.sources if s.citation)}
        ),
        "network_data_format": {
            "inputs": {key: _tensor(spec) for key, spec in request.keyed.items()},
            "outputs": {"pred": _pred(request)},
        },
        "medfuse": _provenance(request),
    }


def copyright_of(request: BundleRequest) -> str:
    """Return whose the bundle is, and its license."""
    whose = request.copyright or request.authors
    end = "" if whose.endswith((".", "!", "?")) else "."
    return f"{whose}{end} Licensed under {license_of(request)}."


def file_types(request: BundleRequest) -> list[str]:
    """Return the kinds of files that a case can be."""
    dicom = ["dicom"] if reads_dicom(request) else []
    return [*(suffix.lstrip(".") for suffix in request.endings), *dicom]


def license_of(request: BundleRequest) -> str:
    """Return the SPDX expression of the bundle: as given, else the strictest of its parts."""
    parts = [source.license for source in request.provenance.sources]
    return request.license or strictest([*parts, "Apache-2.0"]).expression


def subject(request: BundleRequest) -> str:
    """Return in words what is classified."""
    each = [f"{one}s" for one in dict.fromkeys(map(in_words, request.inputs))]
    if len(request.inputs) == 1:
        return each[0]
    return "cases of " + " and ".join([", ".join(each[:-1]), each[-1]] if each[1:] else each)


def in_words(spec: InputSpec) -> str:
    """Return what an input is, for example ``CT volume``."""
    if spec.kind == "tabular":
        return "table row"
    return f"{_MODALITIES.get(spec.modality, spec.modality)} {spec.kind}"


def description(request: BundleRequest) -> str:
    """Return the given description, or one sentence made from the parts."""
    sources = ", ".join(source.label for source in request.provenance.sources)
    return request.description or (
        f"Classifies {subject(request)} by the fused features of {sources}."
    )


def intended_use(request: BundleRequest) -> str:
    """Return for what the bundle is meant, and for what not."""
    return INTENDED_USE.format(subject=subject(request), classes=", ".join(request.classes))


def _seen(spec: InputSpec) -> str:
    if spec.kind == "tabular":
        return f"numbers of {', '.join(spec.columns)}"
    return f"canonical {in_words(spec)} in [0, 1]"


def _tensor(spec: InputSpec) -> dict[str, Any]:
    table = spec.kind == "tabular"
    name = "number" if table else "channel"
    return {
        "type": "tabular" if table else "image",
        "format": "numbers" if table else "magnitude",
        "modality": spec.modality,
        "num_channels": spec.channels,
        "spatial_shape": list(spec.size),
        "dtype": "float32",
        "value_range": [] if table else [0, 1],
        "is_patch_data": False,
        "channel_def": {str(c): f"{name} {c}" for c in range(spec.channels)},
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
        "thresholds": dict(zip(request.classes, request.thresholds, strict=False)),
        "codes": {name: dict(code) for name, code in request.codes.items()},
        "temperature": float(request.network.temperature),
        "license": license_of(request),
        "commercial_use": verdict.commercial,
        "unknown_licenses": list(verdict.unknown),
        "accepted_licenses": accepted_terms(request.part_licenses),
        "sources": [asdict(source) for source in request.provenance.sources],
        "split_digest": request.provenance.split_digest,
        "graph_only": list(request.graph_only),
        # at the top level MONAI would take them for required ones
        "optional_packages": optional_decoders(reads_dicom(request)),
        "details": dict(request.provenance.details),
    }
