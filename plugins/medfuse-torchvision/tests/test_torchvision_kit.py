"""The conformance kit on this plugin, as on anybody else's."""

from __future__ import annotations

import pytest

from medfuse.testing import check_plugin


@pytest.mark.slow
@pytest.mark.long
def test_every_promise_is_kept_by_every_network_with_a_plain_name() -> None:
    findings = check_plugin("torchvision", plain_names=True)
    assert [finding for finding in findings if finding.status == "failed"] == []
    rebuilt = {f.component for f in findings if (f.check, f.status) == ("rebuilds alone", "passed")}
    assert {"backbone alexnet", "backbone googlenet", "backbone torchvision:resnet18"} <= rebuilt
