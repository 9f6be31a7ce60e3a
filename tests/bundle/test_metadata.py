from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from medfuse.bundle.metadata import license_of, metadata


@pytest.fixture(scope="module")
def document(bundle: Path) -> dict:
    return json.loads((bundle / "configs" / "metadata.json").read_text())


def test_document_is_valid_by_monai_s_public_schema(document: dict, repository: Path) -> None:
    path = repository.parent / "shared" / "schema" / "meta_schema_20240725.json"
    if not path.is_file():
        pytest.skip("promise not shown: MONAI's schema is not beside the repository")
    jsonschema.validate(document, json.loads(path.read_text()))


def test_inputs_and_outputs_are_what_label_and_deploy_read(document: dict) -> None:
    formats = document["network_data_format"]
    assert formats["inputs"]["image"]["spatial_shape"] == [40, 48]
    assert formats["inputs"]["image"]["type"] == "image"
    assert formats["outputs"]["pred"]["type"] == "probabilities"
    assert formats["outputs"]["pred"]["channel_def"] == {
        "0": "normal",
        "1": "pneumonia",
        "2": "Covid-19",
    }


def test_required_packages_are_what_scripts_and_nodes_import(document: dict) -> None:
    assert {"timm", "pillow", "tifffile", "pytorch-ignite", "pydicom"} <= set(
        document["required_packages_version"]
    )
    assert "medfuse" not in document["required_packages_version"]


def test_provenance_is_kept(document: dict) -> None:
    block = document["medfuse"]
    assert block["split_digest"] == "1" * 64
    assert block["temperature"] == 1.5
    assert [s["label"] for s in block["sources"]] == ["test_resnet", "test_efficientnet"]
    assert block["parity"]["rebuilt"]["cases"] == 3
    assert block["parity"]["rebuilt"]["largest_difference"] <= 1e-5
    assert 0 <= block["parity"]["torchscript"] <= 1e-4
    assert 0 <= block["parity"]["onnx"] <= 1e-4
    assert {"plugin", "backbone", "weights", "options", "cut", "libraries"} <= set(
        block["sources"][0]
    )


def test_the_strictest_license_of_the_sources_is_the_bundle_s(request_) -> None:
    one, two = request_.provenance.sources
    sources = (replace(one, license="CC-BY-NC-4.0"), two)
    request = replace(request_, provenance=replace(request_.provenance, sources=sources))
    assert license_of(request) == "CC-BY-NC-4.0"
    assert metadata(request, {})["medfuse"]["commercial_use"] is False


def test_unknown_licenses_are_named(request_) -> None:
    sources = (replace(request_.provenance.sources[0], license="LicenseRef-x"),)
    request = replace(request_, provenance=replace(request_.provenance, sources=sources))
    block = metadata(request, {})["medfuse"]
    assert (block["unknown_licenses"], block["commercial_use"]) == (["LicenseRef-x"], None)


def test_decoders_for_compressed_dicom_are_listed_as_optional(document: dict) -> None:
    optional = document["medfuse"]["optional_packages"]
    assert set(optional) == {
        *("pyjpegls", "pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "python-gdcm")
    }
    assert not set(optional) & set(document["required_packages_version"])
    assert "dicom" in document["data_type"].split(", ")


def test_copyright_is_the_given_one_or_that_of_the_authors(request_) -> None:
    assert metadata(request_, {})["copyright"].startswith("The medfuse tests. Licensed under")
    named = metadata(replace(request_, authors="A", copyright="2026 B"), {})
    assert (named["authors"], named["copyright"]) == ("A", "2026 B. Licensed under Apache-2.0.")
