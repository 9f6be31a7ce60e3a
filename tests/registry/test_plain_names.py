from __future__ import annotations

import pytest

from medfuse.errors import PluginError, SourceError
from medfuse.registry import Registry, load_registry, parse_source, select_weights

ZOO = """
from medfuse.contract import *

@hookimpl
def medfuse_backbones():
    yield BackboneFamilySpec(
        name="zoo", summary="s", describe="zoo_lib:describe", names="zoo_lib:names",
        plain_names={"lion": "lion_v1.first", "cub": "lion_v1.wild", "tiger": "tiger_v2"},
    )
"""
LIBRARY = """
from medfuse.contract import BackboneSpec, WeightsSpec
WEIGHTS = tuple(WeightsSpec(name=name) for name in ("first", "wild"))

def names(): return ["lion_v1", "tiger_v2"]

def describe(name):
    if name not in names(): raise KeyError(name)
    return BackboneSpec(name=name, summary="s", factory="a.b:c", weights=WEIGHTS)
"""
OTHER = """
from medfuse.contract import *

@hookimpl
def medfuse_backbones():
    yield BackboneSpec(name="lion", summary="s", factory="a.b:c")
"""


@pytest.fixture
def zoo(install_plugin) -> Registry:
    install_plugin("acme", ZOO, zoo_lib=LIBRARY)
    return load_registry()


@pytest.mark.parametrize(
    ("use", "architecture", "weights"),
    [
        ("lion", "lion_v1", "first"),
        ("cub", "lion_v1", "wild"),
        ("tiger", "tiger_v2", "first"),
        ("cub.first", "lion_v1", "first"),
        ("cub@w.pt", "lion_v1", "wild"),
    ],
)
def test_a_plain_name_stands_for_a_member_and_its_weights(zoo, use, architecture, weights) -> None:
    reference = parse_source(use)
    plugin, spec = zoo.backbone(reference)
    selected = select_weights(spec, reference)
    assert (plugin, spec.name) == ("acme", architecture)
    assert selected is not None
    assert selected.name == weights


def test_untrained_weights_can_be_asked_for(zoo) -> None:
    reference = parse_source("cub.random")
    assert select_weights(zoo.backbone(reference)[1], reference) is None


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        ("cub", "zoo:lion_v1.wild"),
        ("tiger", "zoo:tiger_v2"),
        ("cub.first", "zoo:lion_v1.first"),
        ("cub.random", "zoo:lion_v1.random"),
        ("zoo:lion_v1", "zoo:lion_v1"),
        ("mini:resnet", "mini:resnet"),
        ("unheard-of", "unheard-of"),
    ],
)
def test_the_qualified_source_says_family_and_weights(zoo, use: str, expected: str) -> None:
    assert str(zoo.qualified(parse_source(use))) == expected


def test_a_file_behind_a_plain_name_is_not_called_by_published_weights(zoo) -> None:
    assert str(zoo.qualified(parse_source("cub@w.pt"))) == "zoo:lion_v1@w.pt"


@pytest.mark.parametrize("other", [OTHER, ZOO.replace('"zoo"', '"den"')])
def test_a_plain_name_offered_twice_must_be_qualified(install_plugin, other: str) -> None:
    install_plugin("acme", ZOO, zoo_lib=LIBRARY)
    install_plugin("bolt", other)
    expected = r"source lion: several plugins offer 'lion'. Write .*zoo:lion_v1.first"
    with pytest.raises(SourceError, match=expected):
        load_registry().backbone(parse_source("lion"))
    assert load_registry().backbone(parse_source("zoo:lion_v1"))[1].name == "lion_v1"


def test_a_mistyped_plain_name_gets_a_suggestion_and_no_library_is_imported(install_plugin) -> None:
    install_plugin("acme", ZOO, zoo_lib="raise RuntimeError('imported')\n")
    with pytest.raises(SourceError, match=r"unknown name 'toger'. Did you mean \"tiger\""):
        load_registry().backbone(parse_source("toger"))


def test_an_absent_plugin_of_medfuse_is_named_where_a_name_is_unknown() -> None:
    with pytest.raises(SourceError, match=r"Not installed: .*medfuse-monai, .*medfuse-torchvision"):
        Registry([], []).backbone(parse_source("alexnet"))


def test_weights_that_another_version_of_the_library_lacks_are_an_error(install_plugin) -> None:
    install_plugin("acme", ZOO, zoo_lib=LIBRARY.replace('"wild"', '"tame"'))
    with pytest.raises(SourceError, match="lion_v1 has no weights 'wild' in the installed version"):
        load_registry().backbone(parse_source("cub"))


@pytest.mark.parametrize("faulty", ['"Lion": "lion_v1"', '"lion": "zoo:lion_v1"', '"lion": ""'])
def test_a_plain_name_that_cannot_be_written_breaks_its_plugin(install_plugin, faulty) -> None:
    install_plugin("acme", ZOO.replace('"tiger": "tiger_v2"', faulty))
    (status,) = [p for p in load_registry().plugins if p.name == "acme"]
    assert status.status == "broken"
    assert "has the plain name" in status.reason


def test_plain_names_of_a_broken_plugin_are_not_offered(install_plugin) -> None:
    install_plugin("acme", "1 / 0\n" + ZOO)
    with pytest.raises(SourceError, match="unknown name 'cub'"):
        load_registry().backbone(parse_source("cub"))


@pytest.mark.parametrize(
    ("use", "member"),
    [
        ("alexnet", "torchvision:alexnet.imagenet1k_v1"),
        ("vgg16", "timm:vgg16.tv_in1k"),
        ("inception_resnet_v2", "timm:inception_resnet_v2.tf_in1k"),
        ("xception", "timm:legacy_xception.tf_in1k"),
        ("mobilenet_v1", "timm:mobilenetv1_100.ra4_e3600_r224_in1k"),
        ("resnet18_3d", "monai:resnet18_3d.medicalnet"),
        ("swin_3d", "monai:swin_3d"),
    ],
)
def test_names_of_the_literature_have_one_answer(use: str, member: str) -> None:
    assert str(load_registry().qualified(parse_source(use))) == member


def test_another_plugin_must_not_take_a_plain_name_silently(install_plugin) -> None:
    install_plugin("acme", OTHER.replace("lion", "vgg16"))
    with pytest.raises(SourceError, match="Write acme:vgg16 or timm:vgg16.tv_in1k"):
        load_registry().backbone(parse_source("vgg16"))


def test_a_family_whose_library_is_missing_says_what_to_install(install_plugin) -> None:
    needing = ZOO.replace('summary="s",', 'summary="s", requires=("no-such-library",),')
    install_plugin("acme", needing, zoo_lib=LIBRARY)
    with pytest.raises(PluginError, match="Run: pip install no-such-library"):
        load_registry().backbone(parse_source("lion"))
