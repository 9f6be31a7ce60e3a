"""What lies above what, and what is said of a wrong description."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from torch import nn

from medfuse.backbones.stages import cut_backbone, stages_above
from medfuse.contract import BackboneSpec, GraphOnly, Stage

STAGES = tuple(
    Stage(name=name, module_path=f"net.{name}", feature_dim=width)
    for name, width in (("low", 3), ("high", 4))
)
SPEC = BackboneSpec(
    name="net", summary="", factory="lab:net", export=GraphOnly(reason="a test"), in_channels=1,
    stem="net.stem", stages=STAGES,
)  # fmt: skip


def _backbone() -> nn.Module:
    parts = {"stem": nn.Conv2d(1, 2, 1), "norm": nn.BatchNorm2d(2), "low": nn.Conv2d(2, 3, 1)}
    more = {"high": nn.Conv2d(3, 4, 3, 2), "end": nn.Identity()}
    network = nn.Sequential()
    inner = nn.Sequential()
    for name, part in {**parts, **more}.items():
        inner.add_module(name, part)
    network.add_module("net", inner)
    return network


def test_stages_are_counted_from_the_end_and_the_stem_lies_below_all() -> None:
    assert stages_above(_backbone(), SPEC) == {
        "": 2, "net": 2, "net.stem": 2, "net.norm": 1, "net.low": 1, "net.high": 0, "net.end": 0,
    }  # fmt: skip


def test_a_description_with_a_wrong_width_is_named_in_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrong = replace(SPEC, stages=(STAGES[0], replace(STAGES[1], feature_dim=7)))
    with caplog.at_level(logging.WARNING):
        cut_backbone(_backbone(), wrong, "high", (8, 8))
    assert "stage high gives 7 features, but it gives 4, which is used" in caplog.text


def test_a_true_description_is_not_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    cut_backbone(_backbone(), SPEC, "high", (8, 8))
    assert not caplog.records
