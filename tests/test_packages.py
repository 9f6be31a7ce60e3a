"""What the packages say of themselves: licenses, dependencies, documentation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it there
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[1]
PLUGINS = sorted(path.parent for path in REPOSITORY.glob("plugins/*/pyproject.toml"))
each = pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)


def project(folder: Path) -> dict[str, Any]:
    found = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(found["project"])


@each
def test_a_plugin_carries_the_license_that_it_names(folder: Path) -> None:
    described = project(folder)
    assert described["license"].startswith("Apache-2.0")
    assert all((folder / name).is_file() for name in described["license-files"])
    assert (folder / "LICENSE").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()


@each
def test_a_plugin_has_documentation_and_tests(folder: Path) -> None:
    assert project(folder)["readme"] == "README.md"
    assert (folder / "README.md").read_text(encoding="utf-8").startswith(f"# {folder.name}")
    assert list(folder.glob("tests/test_*.py"))


@each
def test_a_plugin_depends_on_medfuse_unless_medfuse_depends_on_it(folder: Path) -> None:
    names = {text.partition(">")[0] for text in project(REPOSITORY)["dependencies"]}
    depends = any(text.startswith("medfuse>=") for text in project(folder)["dependencies"])
    assert depends != (folder.name in names)


def test_the_license_of_embedded_weights_is_in_their_package() -> None:
    from medfuse_mini import medfuse_backbones

    folder = REPOSITORY / "plugins" / "medfuse-mini"
    described = project(folder)
    text = (folder / "LICENSE-WEIGHTS").read_text(encoding="utf-8")
    assert "LICENSE-WEIGHTS" in described["license-files"]
    for spec in medfuse_backbones():
        for weights in spec.weights:
            assert weights.license == described["license"]
            assert Path(str(weights.path)).name in text
            assert weights.license in text


def test_no_package_has_two_versions() -> None:
    versions = {project(folder)["version"] for folder in (REPOSITORY, *PLUGINS)}
    assert len(versions) == 1
