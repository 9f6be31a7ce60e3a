"""The conformance kit on this plugin, as on anybody else's."""

from __future__ import annotations

import pytest

from medfuse.testing import Check, checks_of
from medfuse.testing.findings import carry_out

ALONE = "rebuilds alone"
CHECKS = tuple(checks_of("xrv"))


def failures(checks: list[Check]) -> list[str]:
    found = [carry_out(check) for check in checks]
    return [f"{f.component}, {f.check}: {f.detail}" for f in found if f.status == "failed"]


def is_quick(check: Check) -> bool:
    return "resnet50" not in check.component and check.name != ALONE


def test_both_networks_are_checked() -> None:
    found = {check.component.partition(":")[2] for check in CHECKS if check.name == "shapes"}
    assert found == {"densenet121", "resnet50"}


def test_the_densenet_keeps_every_promise() -> None:
    assert failures([check for check in CHECKS if is_quick(check)]) == []


@pytest.mark.slow
def test_the_resnet_keeps_every_promise_and_both_rebuild_alone() -> None:
    assert failures([check for check in CHECKS if not is_quick(check)]) == []
