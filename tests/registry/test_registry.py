from __future__ import annotations

import pytest

from medfuse.errors import PluginError, SourceError
from medfuse.registry import load_registry, parse_source

HEAD = "from medfuse.contract import *\n"
HEADS = HEAD + (
    "@hookimpl\n"
    "def medfuse_heads():\n"
    "    yield HeadSpec(name='twin', summary='s', factory='a.b:c')\n"
)
BACKBONES = HEAD + (
    "@hookimpl\n"
    "def medfuse_backbones():\n"
    "    yield BackboneSpec(name='smallnet', summary='s', factory='a.b:c',\n"
    "        weights=(WeightsSpec(name='first'), WeightsSpec(name='second')))\n"
)
FAMILY = HEAD + (
    "@hookimpl\n"
    "def medfuse_backbones():\n"
    "    yield BackboneFamilySpec(name='zoo', summary='s', describe='zoo_lib:describe',\n"
    "                             names='zoo_lib:names')\n"
)
ZOO = (
    "from medfuse.contract import BackboneSpec\n"
    "def names(): return ['lion', 'tiger']\n"
    "def describe(name):\n"
    "    if name == 'ghost': return None\n"
    "    if name == 'mouse': raise ValueError('too small')\n"
    "    if name == 'snail': raise OSError('too slow')\n"
    "    return {n: BackboneSpec(name=n, summary='s', factory='a.b:c') for n in names()}[name]\n"
)


def backbone(use: str):
    return load_registry().backbone(parse_source(use))


def test_a_name_that_one_plugin_offers_needs_no_prefix(install_plugin) -> None:
    install_plugin("acme", HEADS)
    assert load_registry().head("twin").name == "twin"
    assert load_registry().head("acme:twin").name == "twin"


def test_a_name_offered_twice_must_be_qualified(install_plugin) -> None:
    install_plugin("acme", HEADS.replace("'s'", "'of acme'"))
    install_plugin("bolt", HEADS.replace("'s'", "'of bolt'"))
    with pytest.raises(
        PluginError, match="several plugins offer 'twin'. Write acme:twin or bolt:t"
    ):
        load_registry().head("twin")
    assert load_registry().head("bolt:twin").summary == "of bolt"


@pytest.mark.parametrize("kind", ["fusion", "head", "reader", "metric", "explainer", "exporter"])
def test_an_unknown_name_is_refused(kind: str) -> None:
    with pytest.raises(PluginError, match=f"{kind} 'nosuchthing': unknown name 'nosuchthing'"):
        getattr(load_registry(), kind)("nosuchthing")


def test_a_near_name_is_suggested(install_plugin) -> None:
    install_plugin("acme", HEADS)
    with pytest.raises(PluginError, match='Did you mean "twin"'):
        load_registry().head("acme:twni")


def test_an_absent_plugin_is_named(install_plugin) -> None:
    install_plugin("acme", BACKBONES)
    with pytest.raises(SourceError, match=r"no plugin 'acmee' is installed.*Did you mean \"acme\""):
        backbone("acmee:smallnet")


def test_a_first_party_plugin_that_is_absent_can_be_installed() -> None:
    from medfuse.registry import Registry

    with pytest.raises(SourceError, match="Run: pip install medfuse-torchvision"):
        Registry([], []).backbone(parse_source("torchvision:resnet18"))


def test_a_backbone_is_found_with_its_plugin(install_plugin) -> None:
    install_plugin("acme", BACKBONES)
    assert backbone("smallnet")[0] == "acme"
    assert backbone("acme:smallnet.second")[1].name == "smallnet"


@pytest.mark.parametrize("use", ["acme:smallnet.random", "acme:smallnet@w.pt", "acme:smallnet"])
def test_random_weights_and_files_need_no_declared_weights(install_plugin, use: str) -> None:
    install_plugin("acme", BACKBONES)
    assert backbone(use)[1].name == "smallnet"


def test_unknown_weights_are_refused_with_a_suggestion(install_plugin) -> None:
    install_plugin("acme", BACKBONES)
    expected = r"no weights 'secnd', expected one of first, second, random.*\"second\""
    with pytest.raises(SourceError, match=expected):
        backbone("acme:smallnet.secnd")


def test_a_family_is_asked_by_its_name(install_plugin) -> None:
    install_plugin("acme", FAMILY, zoo_lib=ZOO)
    plugin, spec = backbone("zoo:lion")
    assert (plugin, spec.name) == ("acme", "lion")


def test_a_family_is_asked_once_for_each_of_its_backbones(install_plugin) -> None:
    install_plugin("acme", FAMILY, zoo_lib=ZOO)
    first, again = (load_registry().backbone(parse_source("zoo:lion")) for _ in range(2))
    assert first[1] is again[1]
    assert backbone("zoo:tiger")[1].name == "tiger"


def test_a_family_is_never_asked_for_an_unqualified_name(install_plugin) -> None:
    install_plugin("acme", FAMILY, zoo_lib="raise RuntimeError('imported')\n")
    install_plugin("bolt", BACKBONES)
    assert backbone("smallnet")[0] == "bolt"
    with pytest.raises(
        SourceError, match=r"unknown name 'lion'.*Families are asked by name:.*zoo:"
    ):
        backbone("lion")


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("tigre", SourceError, "zoo has no backbone 'tigre'. Did you mean \"tiger\""),
        ("ghost", PluginError, "family zoo gave a NoneType, not a BackboneSpec"),
        ("mouse", SourceError, "source zoo:mouse: mouse cannot be a source: too small"),
        ("snail", PluginError, "family zoo raised OSError: too slow"),
    ],
)
def test_what_a_family_cannot_describe_is_refused(install_plugin, name, error, text) -> None:
    install_plugin("acme", FAMILY, zoo_lib=ZOO)
    with pytest.raises(error, match=text):
        backbone(f"zoo:{name}")


def test_two_families_of_one_name_are_refused(install_plugin) -> None:
    install_plugin("acme", FAMILY, zoo_lib=ZOO)
    install_plugin("bolt", FAMILY)
    with pytest.raises(SourceError, match="plugins acme and bolt both have a family 'zoo'"):
        backbone("zoo:lion")


def test_handlers_of_every_plugin_are_attached(install_plugin) -> None:
    hook = HEAD + "@hookimpl\ndef medfuse_attach_handlers(trainer, run):\n    trainer.append(run)\n"
    install_plugin("acme", hook)
    install_plugin("bolt", hook)
    trainer: list[str] = []
    load_registry().attach_handlers(trainer, "run")
    assert trainer == ["run", "run"]


def test_a_handler_hook_that_raises_names_its_plugin(install_plugin) -> None:
    hook = HEAD + "@hookimpl\ndef medfuse_attach_handlers(trainer):\n    1 / 0\n"
    install_plugin("acme", hook)
    expected = "plugin acme: medfuse_attach_handlers raised ZeroDivisionError.*BLOCK_PLUGINS=acme"
    with pytest.raises(PluginError, match=expected):
        load_registry().attach_handlers(None, None)
