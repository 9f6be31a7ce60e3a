"""The pytest plugin: the option that names which medfuse plugins the conformance kit checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--medfuse-plugin NAME_OR_MODULE``, which may be given several times."""
    group = parser.getgroup("medfuse", "medfuse conformance kit")
    group.addoption(
        "--medfuse-plugin",
        action="append",
        default=[],
        metavar="NAME_OR_MODULE",
        help="plugin checked by medfuse.testing.conformance: an installed name, or a module",
    )
