"""Who provides an import, on every supported Python."""

from __future__ import annotations

import os
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from medfuse.registry import providers
from medfuse.registry.providers import import_providers, normalized_name


@pytest.mark.parametrize(
    ("top", "distribution"),
    [("timm", "timm"), ("PIL", "pillow"), ("ignite", "pytorch-ignite"), ("yaml", "pyyaml")],
)
def test_well_known_imports_have_their_distribution(top: str, distribution: str) -> None:
    assert distribution in import_providers()[top]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the library knows too few before 3.11")
def test_agrees_with_the_standard_library() -> None:
    ours = import_providers()
    for top, names in packages_distributions().items():
        if top.isidentifier() and top in ours:
            assert {normalized_name(name) for name in names} == set(ours[top]), top


def test_what_is_installed_later_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "later_module" not in import_providers()
    installed = tmp_path / "later_dist-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: later-dist\nVersion: 1.0\n")
    (installed / "top_level.txt").write_text("later_module\n")
    os.utime(tmp_path, ns=(0, 1))  # a clock too coarse for a test's pace must not matter here
    assert import_providers()["later_module"] == ("later-dist",)


def test_the_lists_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    before = import_providers()
    monkeypatch.setattr(providers, "distributions", lambda: pytest.fail("read again"))
    assert import_providers() is before
