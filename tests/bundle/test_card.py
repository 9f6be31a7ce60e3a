from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medfuse.bundle import InputSpec, SourceRecord
from medfuse.bundle.card import license_text, model_card


@pytest.fixture(scope="module")
def card(request_) -> str:
    return model_card(request_, {}, {"timm": "1.0"})


@pytest.mark.parametrize(
    "title", ["Intended use", "Classes", "Sources", "Performance", "Limits", "How to run"]
)
def test_every_section_is_there(card: str, title: str) -> None:
    assert f"\n## {title}\n" in card


def test_metrics_come_with_their_intervals(card: str) -> None:
    assert "| auroc | 0.931 (0.900 to 0.960) |" in card


def test_sources_come_with_license_and_digest(card: str) -> None:
    row = next(line for line in card.splitlines() if line.startswith("| test_resnet"))
    assert "Apache-2.0" in row
    assert "0" * 16 in row
    assert "timm 1.0" in row


def test_how_the_keys_of_a_file_were_read_is_said(request_) -> None:
    reading = {"container": "state_dict", "remap": {"model.": ""}, "key_format": "lightning"}
    source = SourceRecord(label="own@w.ckpt", license="MIT", digest="0" * 64, reading=reading)
    text = model_card(
        replace(request_, provenance=replace(request_.provenance, sources=(source,))), {}, {}
    )
    assert 'own@w.ckpt: its weights were read with container `"state_dict"`' in text
    assert 'remap `{"model.": ""}`, key format `"lightning"`' in text


def test_nothing_measured_is_said(request_) -> None:
    assert "Not measured." in model_card(replace(request_, metrics={}), {}, {})


def test_it_is_no_medical_device(card: str) -> None:
    assert "Not a medical device" in card


def test_license_names_each_part_and_holds_the_text(request_, bundle: Path) -> None:
    text = license_text(request_)
    assert text == (bundle / "LICENSE").read_text()
    assert text.startswith("SPDX-License-Identifier: Apache-2.0\n")
    assert "weights derived from test_efficientnet: Apache-2.0" in text
    assert "TERMS AND CONDITIONS" in text


def test_decoders_for_compressed_dicom_are_optional_and_named(card: str) -> None:
    assert "pip install pyjpegls pylibjpeg pylibjpeg-openjpeg pylibjpeg-rle python-gdcm" in card
    assert "refused with the code `NO_DECODER`" in card


def test_a_bundle_that_reads_no_dicom_names_no_decoders(request_) -> None:
    row = InputSpec(kind="tabular", channels=2, columns=("age", "sex"))
    text = model_card(replace(request_, inputs=(row,), vendored=()), {}, {})
    assert "NO_DECODER" not in text


def test_the_provider_is_the_plugin_and_what_it_is_built_from(request_) -> None:
    source = SourceRecord(
        label="mini:x.y",
        license="Apache-2.0",
        digest="0" * 64,
        package="medfuse-mini",
        version="0.1.0",
        libraries={"timm": "1.0.31"},
    )
    changed = replace(request_, provenance=replace(request_.provenance, sources=(source,)))
    assert "| medfuse-mini 0.1.0 (timm 1.0.31) |" in model_card(changed, {}, {})


def test_authors_and_copyright_are_those_of_the_request(request_) -> None:
    named = replace(request_, authors="Ward 7", copyright="2026 The Clinic")
    text = model_card(named, {}, {})
    assert "## Authors\n\nWard 7\n\n2026 The Clinic. Licensed under Apache-2.0." in text
