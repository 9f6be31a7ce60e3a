from __future__ import annotations

import json
import logging

import pytest

from medfuse.cli.main import run

PLUGIN = """
from medfuse.contract import *

@hookimpl
def medfuse_backbones():
    yield BackboneSpec(
        name="flat", summary="A flat network", factory="acme_networks:Net", in_channels=1,
        options=(Option(name="width", kind="int", default=6, summary="channels"),),
        stages=(Stage(name="only", module_path="conv", stride=2),),
        weights=(
            WeightsSpec(name="xray", path="acme:x.pt", source_domain="chest X-rays",
                        license="CC0-1.0", training_data=("nih",), sha256="a" * 64,
                        citation="Doe 2020",
                        normalization=Normalization(mean=(0.5,), std=(0.25,))),
            WeightsSpec(name="photo", hub_id="acme/photo", source_domain="natural images",
                        license="Apache-2.0"),
            WeightsSpec(name="default", hub_id="acme/photo", source_domain="natural images",
                        license="Apache-2.0"),
            WeightsSpec(name="own", source_domain="natural images"),
        ),
    )
    yield BackboneSpec(name="deep", summary="A deep network", factory="acme_networks:Missing",
                       spatial_dims=3)
    yield BackboneFamilySpec(name="zoo", summary="Many", describe="acme_networks:describe",
                             names="acme_networks:names")
"""
NETWORKS = """
from torch import nn
from medfuse.contract import BackboneSpec, WeightsSpec

class Net(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, stride=2, padding=1)
    def forward(self, x):
        return self.conv(x), None

def names():
    return [f"cat{i}" for i in range(50)] + ["dog"]

def describe(name):
    if name not in names(): raise KeyError(name)
    return BackboneSpec(name=name, summary="s", factory="acme_networks:Net",
                        weights=(WeightsSpec(name="w", license="MIT", url="https://x/w.pt"),))
"""


@pytest.fixture
def listed(install_plugin, capsys):
    install_plugin("acme", PLUGIN, acme_networks=NETWORKS)

    def rows(*arguments: str) -> list[str]:
        assert run(["sources", "list", "--plugin", "acme", "--json", *arguments]) == 0
        return [row["source"] for row in json.loads(capsys.readouterr().out)]

    return rows


def test_every_weights_is_a_source_and_a_family_is_one_row(listed) -> None:
    assert listed() == ["acme:flat.xray", "acme:flat.photo", "acme:deep.random", "zoo:NAME.WEIGHTS"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--dims", "3"], ["acme:deep.random", "zoo:NAME.WEIGHTS"]),
        (["--domain", "x-ray"], ["acme:flat.xray", "zoo:NAME.WEIGHTS"]),
        (["--license", "apache*"], ["acme:flat.photo", "zoo:NAME.WEIGHTS"]),
        (["--filter", "fl*"], ["acme:flat.xray", "acme:flat.photo"]),
        (["--family", "zoo", "--filter", "d*"], ["zoo:dog.w"]),
        (["--family", "zoo", "--filter", "cat1?", "--limit", "2"], ["zoo:cat10.w", "zoo:cat11.w"]),
        (["--family", "zoo", "--filter", "d*", "--license", "GPL*"], []),
    ],
)
def test_filters_keep_what_fits_and_what_is_unknown(listed, arguments, expected) -> None:
    assert listed(*arguments) == expected


def test_another_name_of_the_same_weights_is_no_second_source(listed) -> None:
    assert "acme:flat.default" not in listed()


def test_a_contract_without_weights_is_no_source(listed) -> None:
    assert "acme:flat.own" not in listed()


def test_a_network_with_a_contract_alone_is_listed_as_untrained(install_plugin, capsys) -> None:
    alone = PLUGIN.replace('path="acme:x.pt", ', "").replace('hub_id="acme/photo", ', "")
    install_plugin("acme", alone, acme_networks=NETWORKS)
    assert run(["sources", "list", "--plugin", "acme", "--filter", "flat", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["source"], row["domain"]) for row in found] == [("acme:flat.random", "untrained")]


def test_a_shortened_list_says_so(listed, caplog, monkeypatch) -> None:
    monkeypatch.setattr(logging.getLogger("medfuse"), "propagate", True)
    assert len(listed("--family", "zoo")) == 40
    assert "40 of 51 backbones shown" in caplog.text
    assert len(listed("--family", "zoo", "--limit", "0")) == 51


def test_an_unknown_family_gets_a_suggestion(listed, capsys) -> None:
    assert run(["sources", "list", "--family", "zooo"]) == 1
    assert 'Did you mean "zoo"' in capsys.readouterr().err


def test_the_table_has_columns(listed, capsys) -> None:
    assert run(["sources", "list", "--plugin", "acme"]) == 0
    header, first, *_ = capsys.readouterr().out.splitlines()
    assert header.split() == ["SOURCE", "DIMS", "DOMAIN", "LICENSE", "WHAT"]
    assert first[header.index("DOMAIN") :].startswith("chest X-rays")


def test_show_measures_widths_and_marks_the_chosen_weights(listed, capsys) -> None:
    assert run(["sources", "show", "acme:flat.photo"]) == 0
    out = capsys.readouterr().out
    assert "6 (map 6 x 48 x 48)" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["only", "6", "2", "grid"] in lines
    assert any(line[:2] == ["*", "photo"] for line in lines)


def test_show_as_json_holds_the_whole_specification(listed, capsys) -> None:
    assert run(["sources", "show", "acme:flat", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["selected_weights"] == "xray"
    assert record["measured"]["map"] == [6, 48, 48]
    assert record["export"]["kind"] == "GraphOnly"
    assert record["weights"][0]["training_data"] == ["nih"]


def test_show_tells_where_weights_come_from(listed, capsys) -> None:
    assert run(["sources", "show", "acme:flat", "--no-build"]) == 0
    out = capsys.readouterr().out
    assert "not measured" in out
    assert "trained on  nih" in out
    assert "a" * 64 in out
    assert "Doe 2020" in out


def test_show_of_a_network_that_cannot_be_built_says_why(listed, capsys) -> None:
    assert run(["sources", "show", "acme:deep"]) == 0
    assert "not measured: deep: factory 'acme_networks:Missing'" in capsys.readouterr().out


def test_show_of_an_unknown_source_is_one_line(listed, capsys) -> None:
    assert run(["sources", "show", "acme:flatt"]) == 1
    err = capsys.readouterr().err
    assert 'Did you mean "flat"' in err
    assert err.count("\n") == 1
