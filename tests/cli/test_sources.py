from __future__ import annotations

import json
import logging
import re
import subprocess
import sys

import pytest

from medfuse.cli.main import run
from medfuse.registry import Measurement
from medfuse.registry.measurements import measurements_text

PLUGIN = """
from medfuse.contract import *

PLAIN, TABLE = {}, None

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
                             names="acme_networks:names", plain_names=PLAIN, measured=TABLE)
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


MEASURED = {
    "wolf": Measurement(2, (64, 64), (8, 2, 2), 512, 11_000_000, 1_800_000_000, "photos", "MIT"),
    "wolf12": Measurement(2, (64, 64), (8, 2, 2), 64, 900_000, 5_000_000, "photos", "Apache-2.0"),
    "wolf2": Measurement(3, (9, 9, 9), (4, 3, 3, 3), 1024, 2_000_000, 70_000_000, "", ""),
}
PLAIN = {"wolf": "dog.w", "wolf2": "cat2", "wolf12": "cat12.w", "fox": "cat9.w"}


@pytest.fixture
def plain(install_plugin, tmp_path, monkeypatch, capsys):
    """List what a family with plain names has recorded; asking the family itself fails."""
    (tmp_path / "acme_table").mkdir()
    (tmp_path / "acme_table" / "__init__.py").touch()
    (tmp_path / "acme_table" / "measured.json").write_text(measurements_text(MEASURED))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acme_table", raising=False)  # of another test
    source = PLUGIN.replace("{}, None", f"{PLAIN}, 'acme_table:measured.json'")
    install_plugin("acme", source, acme_networks="raise RuntimeError('imported')")

    def rows(*arguments: str) -> list[dict[str, object]]:
        assert run(["sources", "list", "--plugin", "acme", "--json", *arguments]) == 0
        found = json.loads(capsys.readouterr().out)
        return [r for r in found if ":" not in r["source"]]

    return rows


def test_plain_names_are_listed_by_dimensions_and_number(plain) -> None:
    assert [row["source"] for row in plain()] == ["fox", "wolf", "wolf12", "wolf2.random"]


def test_a_plain_name_shows_what_is_recorded(plain) -> None:
    (found,) = plain("--filter", "wolf")
    assert found == {
        "source": "wolf", "plugin": "acme", "dims": 2, "weights": "zoo:dog.w", "domain": "photos",
        "license": "MIT", "summary": "Many", "input_size": [64, 64], "width": 512,
        "parameters": 11_000_000, "macs": 1_800_000_000,
    }  # fmt: skip


def test_a_plain_name_without_weights_is_listed_as_untrained(plain) -> None:
    (found,) = plain("--dims", "3")
    assert (found["source"], found["weights"], found["domain"]) == ("wolf2.random", "", "untrained")


def test_a_plain_name_of_which_nothing_is_recorded_is_listed_without(plain) -> None:
    (found,) = plain("--filter", "fox")
    assert (found["weights"], found["dims"], found["width"]) == ("zoo:cat9.w", None, None)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--width", "512"], ["wolf"]),
        (["--width", "64-512"], ["wolf", "wolf12"]),
        (["--width", "512-"], ["wolf", "wolf2.random"]),
        (["--max-parameters", "10M"], ["wolf12", "wolf2.random"]),
        (["--max-macs", "1.8G"], ["wolf", "wolf12", "wolf2.random"]),
        (["--max-macs", "100M"], ["wolf12", "wolf2.random"]),
        (["--max-macs", "70000k", "--license", "apache*"], ["wolf12"]),
        (["--weights", "*dog*"], ["wolf"]),
        (["--domain", "photo", "--max-parameters", "1m"], ["wolf12"]),
        (["--filter", "wolf1*"], ["wolf12"]),
        (["--filter", "dog"], ["wolf"]),
    ],
)
def test_every_column_can_be_filtered(plain, arguments, expected) -> None:
    assert [row["source"] for row in plain(*arguments)] == expected


def test_what_was_not_measured_is_left_out_by_size_and_counted(plain, caplog, monkeypatch) -> None:
    monkeypatch.setattr(logging.getLogger("medfuse"), "propagate", True)
    assert "fox" not in [row["source"] for row in plain("--max-macs", "100G")]
    assert "sources left out: nothing was measured of them" in caplog.text


@pytest.mark.parametrize(
    ("option", "text", "expected"),
    [
        ("--width", "wide", "'wide', expected a width as 512, or 512-1024"),
        ("--width", "-", "'-', expected a width"),
        ("--width", "1024-512", "'1024-512', expected the smaller width first"),
        ("--max-macs", "many", "'many', expected a number as 500k, 10M or 1.5G"),
        ("--max-macs", "9" * 400, "a number that no network reaches"),
    ],
)
def test_a_size_that_is_no_number_is_a_usage_error(option, text, expected, capsys) -> None:
    assert run(["sources", "list", f"{option}={text}"]) == 2
    assert expected in capsys.readouterr().err


def test_a_damaged_table_is_told_and_its_networks_are_listed(plain, tmp_path, capsys) -> None:
    (tmp_path / "acme_table" / "measured.json").write_text("{")
    assert run(["sources", "list", "--plugin", "acme"]) == 0
    shown = capsys.readouterr()
    assert "zoo: table of measured networks 'acme_table:measured.json' cannot be read" in shown.err
    wolf = next(line.split() for line in shown.out.splitlines() if line.startswith("wolf "))
    assert wolf == ["wolf", "-", "-", "-", "-", "zoo:dog.w", "-", "-"]


def test_markdown_has_a_line_for_each_network_and_the_size_it_was_measured_at(
    plain, capsys
) -> None:
    assert run(["sources", "list", "--plugin", "acme", "--filter", "wolf*", "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| `wolf` | 64 x 64 | 512 | 11.0M | 1.80G | `zoo:dog.w` | photos | MIT |"
    assert lines[4] == "| `wolf2.random` | 9 x 9 x 9 | 1024 | 2.00M | 70.0M | - | untrained | - |"
    assert len(lines) == 5


def test_members_of_a_family_show_what_is_recorded_of_their_architecture(
    install_plugin, plain, capsys
) -> None:
    source = PLUGIN.replace("{}, None", f"{PLAIN}, 'acme_table:measured.json'")
    install_plugin("acme", source, acme_networks=NETWORKS)
    rows = ["sources", "list", "--family", "zoo", "--json", "--filter"]
    assert run([*rows, "dog"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["width"] == 512
    assert run([*rows, "cat1"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["width"] is None


def test_listing_imports_no_torch() -> None:
    code = (
        "import sys; from medfuse.cli.main import run; run(['sources', 'list', '--json']);"
        "sys.exit(bool({'torch', 'monai', 'timm', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0
    assert len(json.loads(done.stdout)) >= 40


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


def test_an_unknown_plugin_is_no_empty_table(listed, capsys) -> None:
    assert run(["sources", "list", "--plugin", "acne"]) == 1
    assert "no plugin of this name is installed" in (told := capsys.readouterr().err)
    assert 'Did you mean "acme"' in told


def test_the_table_has_columns(listed, capsys) -> None:
    assert run(["sources", "list", "--plugin", "acme"]) == 0
    header, first, *_ = capsys.readouterr().out.splitlines()
    columns = ["SOURCE", "DIMS", "WIDTH", "PARAMETERS", "MULT-ADDS", "WEIGHTS", "DOMAIN", "LICENSE"]
    assert header.split() == columns
    assert first[header.index("DOMAIN") :].startswith("chest X-rays")


def test_families_stand_below_the_table(listed, capsys) -> None:
    assert run(["sources", "list", "--plugin", "acme"]) == 0
    _, _, families = capsys.readouterr().out.partition("\n\n")
    assert families.splitlines()[1].split() == [
        "zoo:NAME.WEIGHTS", "Many;", "medfuse", "sources", "list", "--family", "zoo",
    ]  # fmt: skip


def test_show_of_a_plain_name_says_what_it_stands_for_and_its_size(capsys) -> None:
    assert run(["sources", "show", "mobilenet_v3_small"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("timm:mobilenetv3_small_100.lamb_in1k: ")
    assert re.search(r"^parameters +1\.52M$", out, re.MULTILINE)
    assert re.search(r"^multiply-adds +55\.5M for one image of 224 x 224$", out, re.MULTILINE)


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
