"""The conformance kit on this plugin, as on anybody else's."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from medfuse_monai import PLAIN_NAMES

from medfuse.testing import Check, checks_of
from medfuse.testing.findings import carry_out

ALONE = "rebuilds alone"
CHECKS = tuple(checks_of("monai"))
SMALLEST = "backbone monai:resnet10"


def failures(checks: Iterable[Check]) -> list[str]:
    found = [carry_out(check) for check in checks]
    return [f"{f.component}, {f.check}: {f.detail}" for f in found if f.status == "failed"]


def is_quick(check: Check) -> bool:
    return check.component in (SMALLEST, "family monai", "plugin") and check.name != ALONE


def test_every_kind_of_network_is_among_what_is_checked() -> None:
    found = {check.component.partition(":")[2] for check in CHECKS if check.name == "shapes"}
    assert found == {"resnet10", "resnet10_3d", "densenet121", "efficientnet_b0", "seresnet50"}


def test_the_smallest_network_keeps_every_promise() -> None:
    assert failures([check for check in CHECKS if is_quick(check)]) == []


def test_every_plain_name_is_among_what_is_checked_if_asked_for() -> None:
    found = {c.component for c in checks_of("monai", plain_names=True) if c.name == "shapes"}
    assert {f"backbone {name}" for name in PLAIN_NAMES} <= found


@pytest.mark.slow
@pytest.mark.long
def test_the_others_and_every_plain_name_keep_every_promise_too() -> None:
    checks = checks_of("monai", plain_names=True)  # in order: a network is released with its last
    assert failures(check for check in checks if not is_quick(check)) == []
