from __future__ import annotations

from pathlib import Path

import pytest

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


def test_nothing_measured_is_said(request_) -> None:
    from dataclasses import replace

    assert "Not measured." in model_card(replace(request_, metrics={}), {}, {})


def test_it_is_no_medical_device(card: str) -> None:
    assert "Not a medical device" in card


def test_license_names_each_part_and_holds_the_text(request_, bundle: Path) -> None:
    text = license_text(request_)
    assert text == (bundle / "LICENSE").read_text()
    assert text.startswith("SPDX-License-Identifier: Apache-2.0\n")
    assert "weights derived from test_efficientnet: Apache-2.0" in text
    assert "TERMS AND CONDITIONS" in text
