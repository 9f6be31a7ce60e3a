"""The conformance kit on this plugin, as on anybody else's."""

from __future__ import annotations

import pytest

from medfuse.testing import Check, checks_of
from medfuse.testing.findings import carry_out

ALONE = "rebuilds alone"
CHECKS = tuple(checks_of("mini"))


def failures(checks: list[Check]) -> list[str]:
    found = [carry_out(check) for check in checks]
    return [f"{f.component}, {f.check}: {f.detail}" for f in found if f.status == "failed"]


def test_networks_are_among_what_is_checked() -> None:
    assert len({check.component for check in CHECKS if check.name == "shapes"}) >= 2


def test_every_promise_is_kept() -> None:
    assert failures([check for check in CHECKS if check.name != ALONE]) == []


@pytest.mark.slow
def test_networks_are_rebuilt_where_medfuse_is_absent() -> None:
    alone = [check for check in CHECKS if check.name == ALONE]
    assert alone
    assert failures(alone) == []
