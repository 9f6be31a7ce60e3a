"""Readers of installed plugins: which a cohort needs, and what a bundle gets of them."""

from __future__ import annotations

import sys

import pytest

from medfuse.data.readers import Readers, installed_readers
from medfuse.errors import PluginError
from medfuse.registry import load_registry

PLUGIN = """
from medfuse.contract import *

@hookimpl
def medfuse_readers():
    yield ReaderSpec(
        name="grid", summary="s", factory="MODULE:read", suffixes=(SUFFIXES,),
        options=(Option(name="order", kind="str", default="C"),), requires=(REQUIRES),
        export=EXPORT,
    )
"""
VENDORED = 'VendoredSource(modules=("MODULE",), requires=("pillow",))'
READER = "def read(path, order):\n    return path\n"


@pytest.fixture
def install(install_plugin):
    def one(
        plugin: str = "acme", suffixes: str = "'.f32'", export: str = VENDORED, requires: str = ""
    ) -> Readers:
        source = PLUGIN.replace("EXPORT", export).replace("SUFFIXES", suffixes)
        source = source.replace("REQUIRES", requires).replace("MODULE", f"{plugin}_reading")
        install_plugin(plugin, source, **{f"{plugin}_reading": READER})
        return installed_readers(load_registry())

    return one


def names(readers: Readers, *references: str) -> list[str]:
    return [one.name for one in readers.used_by(references)]


def test_without_a_plugin_nothing_is_read_beside_the_built_in_formats() -> None:
    readers = installed_readers(load_registry())
    assert (readers.endings, readers.used_by(["a.f32"])) == ((), ())


def test_a_reader_is_used_where_a_file_has_its_ending(install) -> None:
    readers = install()
    assert readers.endings == (".f32",)
    assert names(readers, "a.png", '{"age": "3"}', "b.F32::1") == ["acme:grid"]
    assert names(readers, "a.png", "b.nii.gz") == []


def test_no_reader_is_imported_before_a_file_needs_it(install) -> None:
    readers = install()
    (used,) = readers.used_by(["a.f32"])
    assert "acme_reading" not in sys.modules
    assert used.reader.name == "acme:grid"
    assert "acme_reading" in sys.modules


def test_an_ending_of_two_plugins_is_an_error_once_a_file_has_it(install) -> None:
    install("acme")
    readers = install("bolt", "'.f32', '.g32'")
    assert names(readers, "a.png", "b.g32") == ["bolt:grid"]
    with pytest.raises(
        PluginError, match=r"b\.f32: acme:grid and bolt:grid both read '\.f32'.*PLUGINS=acme"
    ):
        readers.used_by(["a.png", "b.f32"])


def test_an_ending_of_a_built_in_format_is_an_error_once_a_file_has_it(install) -> None:
    readers = install("acme", "'.nrrd', '.gz'")
    assert readers.endings == (".gz",)
    assert names(readers, "a.nii.gz", "b.png") == []
    with pytest.raises(PluginError, match=r"acme:grid and medfuse both read '\.nrrd'.*=acme"):
        readers.used_by(["a.nrrd"])


def test_a_longer_ending_is_not_ambiguous(install) -> None:
    readers = install("acme", "'.seg.nrrd'")
    assert names(readers, "a.seg.nrrd") == ["acme:grid"]
    assert names(readers, "a.nrrd") == []


def test_a_vendored_reader_is_rebuilt_from_its_copy(install) -> None:
    (used,) = install().used_by(["a.f32"])
    assert used.in_bundles
    assert (used.vendored, used.requires) == (("acme_reading",), ("pillow",))
    assert used.node == {
        "_target_": "scripts.data_plugin_reader.PluginReader",
        "name": "acme:grid",
        "suffixes": [".f32"],
        "read": {"_target_": "scripts.acme_reading.read", "_mode_": "callable", "order": "C"},
    }


def test_a_public_reader_is_named_in_the_bundle(install) -> None:
    export = 'PublicTarget(target="lib.io.read", kwargs={"fast": True}, requires=("lib",))'
    (used,) = install(export=export).used_by(["a.f32"])
    assert (used.vendored, used.requires) == ((), ("lib",))
    expected = {"_target_": "lib.io.read", "_mode_": "callable", "fast": True, "order": "C"}
    assert used.node["read"] == expected


def test_a_reader_without_export_cannot_live_in_a_bundle(install) -> None:
    (used,) = install(export='GraphOnly(reason="closed source")').used_by(["a.f32"])
    assert not used.in_bundles


def test_a_missing_requirement_names_the_plugin_and_ways_out(install) -> None:
    (used,) = install(requires="'no-such-dist',").used_by(["a.f32"])
    with pytest.raises(PluginError, match=r"plugin acme: grid: .*pip install.*PLUGINS=acme"):
        _ = used.reader


def test_other_code_is_another_identity(install, tmp_path) -> None:
    (before,) = install().used_by(["a.f32"])
    first = before.identity
    (tmp_path / "site" / "acme_reading.py").write_text(READER + "x = 1\n")
    assert {key for key in first if first[key] != before.identity[key]} == {"code"}
