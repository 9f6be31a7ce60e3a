"""The conformance kit on this plugin, as on anybody else's."""

from __future__ import annotations

import pytest
from medfuse_timm.plain_names import PLAIN_NAMES

from medfuse.testing import check_plugin


@pytest.mark.slow
@pytest.mark.long
def test_every_promise_is_kept_by_every_network_with_a_plain_name() -> None:
    findings = check_plugin("timm", plain_names=True)
    assert [finding for finding in findings if finding.status == "failed"] == []
    rebuilt = {f.component for f in findings if (f.check, f.status) == ("rebuilds alone", "passed")}
    assert {f"backbone {name}" for name in PLAIN_NAMES} <= rebuilt
    assert {"backbone timm:test_resnet", "backbone timm:test_vit"} <= rebuilt
