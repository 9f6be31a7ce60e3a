"""Weights without a published digest keep the one of their first use."""

from __future__ import annotations

import pytest

from medfuse.backbones.pins import check_pin, pin_file
from medfuse.contract import WeightsSpec
from medfuse.errors import WeightsError

WEIGHTS = WeightsSpec(name="w", hub_id="owner/net/own.pt")
FIRST, SECOND = "1" * 64, "2" * 64


def test_the_first_digest_is_kept_and_told(caplog):
    with caplog.at_level("INFO"):
        check_pin(WEIGHTS, FIRST, "source lab:net.w")
    assert f"another one will be refused: sha256 {FIRST}" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO"):
        check_pin(WEIGHTS, FIRST, "source lab:net.w")
    assert caplog.text == ""


def test_another_digest_later_is_refused_with_both_and_the_way_out():
    check_pin(WEIGHTS, FIRST, "source lab:net.w")
    with pytest.raises(
        WeightsError, match=f"lab:net.w: sha256 of its weights is {SECOND}, but was {FIRST} when"
    ) as caught:
        check_pin(WEIGHTS, SECOND, "source lab:net.w")
    assert str(pin_file("owner/net/own.pt")) in str(caught.value)


def test_another_place_has_another_pin():
    check_pin(WEIGHTS, FIRST, "source")
    check_pin(WeightsSpec(name="w", url="https://example.org/own.pt"), SECOND, "source")


def test_a_damaged_pin_is_named():
    pin_file("owner/net/own.pt").parent.mkdir(parents=True)
    pin_file("owner/net/own.pt").write_text("{", encoding="utf-8")
    with pytest.raises(WeightsError, match="the kept digest cannot be read"):
        check_pin(WEIGHTS, FIRST, "source")


def test_a_cache_that_cannot_be_written_is_told_and_no_error(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    monkeypatch.setenv("MEDFUSE_CACHE", str(tmp_path / "file"))
    check_pin(WEIGHTS, FIRST, "source lab:net.w")
    assert "cannot be kept for next time" in caplog.text
    assert f"Set sha256: {FIRST}" in caplog.text
