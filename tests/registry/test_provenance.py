"""Two editions of a plugin are told apart, so that nothing computed with one serves the other."""

from __future__ import annotations

import sys

import pytest

from medfuse.contract import BackboneSpec, GraphOnly, VendoredSource
from medfuse.registry.provenance import origin_of

VENDORED = VendoredSource(modules=("edition_net",))


def spec(export=VENDORED) -> BackboneSpec:
    return BackboneSpec(name="net", summary="s", factory="edition_net:Net", export=export)


@pytest.fixture
def edition(install_plugin, tmp_path):
    """Install the plugin ``edition`` and return what its network's origin is."""

    def install(code: str = "x = 1\n", export=VENDORED) -> dict[str, str]:
        install_plugin("edition", "", edition_net=code)
        return origin_of("edition", spec(export))

    return install


def test_the_origin_names_package_and_version(edition) -> None:
    origin = edition()
    assert (origin["distribution"], origin["version"]) == ("edition-dist", "1.0")
    assert len(origin["code"]) == 64


def test_an_upgraded_package_is_another_origin(edition, tmp_path) -> None:
    before = edition()
    metadata = tmp_path / "site" / "edition_dist-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 1.1"))
    after = origin_of("edition", spec())
    assert (before["version"], after["version"]) == ("1.0", "1.1")
    assert before["code"] == after["code"]


@pytest.mark.parametrize("export", [VENDORED, GraphOnly(reason="for tests")])
def test_other_code_under_the_same_version_is_another_origin(edition, export) -> None:
    before, after = edition("x = 1\n", export), edition("x = 2\n", export)
    assert before["version"] == after["version"]
    assert before["code"] != after["code"]


def test_every_file_of_a_vendored_package_counts(install_plugin, tmp_path) -> None:
    package = tmp_path / "site" / "edition_nets"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "blocks.py").write_text("x = 1\n")
    before = origin_of("edition", spec(VendoredSource(modules=("edition_nets",))))
    (package / "blocks.py").write_text("x = 2\n")
    after = origin_of("edition", spec(VendoredSource(modules=("edition_nets",))))
    assert before["code"] != after["code"]


def test_a_component_that_is_not_installed_has_an_empty_origin() -> None:
    nobody = {"distribution": "", "version": "", "code": ""}
    assert origin_of("nobody", spec()) == nobody


def test_nothing_of_the_plugin_is_imported(edition) -> None:
    edition("raise RuntimeError('imported')\n")
    assert "edition_net" not in sys.modules
