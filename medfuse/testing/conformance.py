"""The conformance kit as tests, one for each promise of each component.

Run ``pytest --pyargs medfuse.testing.conformance --medfuse-plugin NAME_OR_MODULE``.
"""

from __future__ import annotations

import pytest

from medfuse.testing.findings import Check, NotApplicable
from medfuse.testing.kit import checks_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of every check of the plugins named on the command line."""
    plugins = metafunc.config.getoption("--medfuse-plugin")
    if not plugins:
        raise pytest.UsageError("name the plugin to check: --medfuse-plugin NAME_OR_MODULE")
    checks = [check for plugin in plugins for check in checks_of(plugin)]
    names = [f"{check.component}-{check.name}".replace(" ", "_") for check in checks]
    metafunc.parametrize("check", checks, ids=names)


def test_conformance(check: Check) -> None:
    """One promise is kept."""
    try:
        check.run()
    except NotApplicable as reason:
        pytest.skip(str(reason))
