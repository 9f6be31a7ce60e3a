from __future__ import annotations

import pytest

from medfuse.contract import HeadSpec
from medfuse.errors import PluginError
from medfuse.registry import load_factory


def test_a_factory_is_imported_by_its_text() -> None:
    import collections

    assert load_factory("collections:OrderedDict.fromkeys") == collections.OrderedDict.fromkeys


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("collections.OrderedDict", "expected the form package.module:callable"),
        ("collections:OrderedDct", "collections has no 'OrderedDct'. Did you mean \"OrderedDict\""),
        ("no_such_package.x:y", "cannot be imported: ModuleNotFoundError: .*no_such_package"),
        ("math:pi", "is a float, expected a callable"),
    ],
)
def test_a_factory_that_cannot_be_loaded_is_named(text: str, expected: str) -> None:
    spec = HeadSpec(name="myhead", summary="s", factory=text)
    with pytest.raises(PluginError, match=f"myhead: factory .*{expected}"):
        load_factory(spec)
    with pytest.raises(PluginError, match=f"factory .*{expected}"):
        load_factory(text)


def test_a_missing_distribution_is_named_with_the_command() -> None:
    spec = HeadSpec(
        name="h", summary="s", factory="math:sqrt", requires=("pluggy>=1", "no-such-dist>=2")
    )
    with pytest.raises(PluginError, match="needs no-such-dist>=2.*pip install no-such-dist>=2"):
        load_factory(spec)


def test_a_factory_module_that_exits_is_reported(install_plugin) -> None:
    install_plugin("x", "", exiting="raise SystemExit(1)\n")
    with pytest.raises(PluginError, match="cannot be imported: SystemExit"):
        load_factory("exiting:f")
