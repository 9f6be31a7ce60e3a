"""The pytest plugin: the conformance kit's option, and a fixture that installs a plugin."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

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


@pytest.fixture
def install_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """Install plugins for the length of a test.

    ``install_plugin(name, source, **modules)`` makes ``source`` the module ``NAME_plugin`` of a
    distribution ``NAME-dist`` with an entry point ``NAME``; further modules are written beside it.
    """
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    before = set(sys.modules)

    def install(name: str, source: str, /, distribution: str = "", **modules: str) -> None:
        package = f"{name}_plugin".replace("-", "_")
        for module, text in {package: source, **modules}.items():
            (site / f"{module}.py").write_text(text, encoding="utf-8")
        _write_distribution(site, distribution or f"{name}-dist", f"{name} = {package}")
        monkeypatch.syspath_prepend(site)

    yield install
    for module in set(sys.modules) - before:
        file = getattr(sys.modules[module], "__file__", None) or ""
        if Path(file).is_relative_to(site):
            del sys.modules[module]


def _write_distribution(site: Path, name: str, entry_point: str) -> None:
    folder = site / f"{name.replace('-', '_')}-1.0.dist-info"
    folder.mkdir(exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    (folder / "METADATA").write_text(metadata, encoding="utf-8")
    (folder / "entry_points.txt").write_text(f"[medfuse]\n{entry_point}\n", encoding="utf-8")
