"""The conformance kit on this plugin, as on anybody else's."""

from __future__ import annotations

import pytest

from medfuse.testing import check_plugin


@pytest.mark.slow
def test_every_promise_is_kept() -> None:
    findings = check_plugin("torchvision")
    assert [finding for finding in findings if finding.status == "failed"] == []
    assert len({finding.component for finding in findings if finding.check == "shapes"}) >= 2
