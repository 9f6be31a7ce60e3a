from __future__ import annotations

import sys
from pathlib import Path

import pytest

from medfuse.cli.main import run
from medfuse.errors import PluginError
from medfuse.registry import load_registry, read_measurements
from medfuse.workflows.measure_networks import measure_plugin

PLUGIN = """
from medfuse.contract import *

@hookimpl
def medfuse_backbones():
    yield BackboneSpec(name="flat", summary="s", factory="acme_net:Net", in_channels=1,
                       measured="acme_tables:measured.json")
    yield BackboneSpec(name="unlisted", summary="s", factory="acme_net:Missing")
    yield BackboneFamilySpec(
        name="zoo", summary="s", describe="acme_net:describe", names="acme_net:names",
        plain_names={"big": "net16"}, measured="acme_tables:measured.json",
    )
"""
NET = """
from torch import nn
from medfuse.contract import BackboneSpec, Option

class Net(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, stride=2, padding=1)
    def forward(self, x):
        return self.conv(x), None

def names(): return ["net8", "net16"]

def describe(name):
    width = int(name.removeprefix("net"))
    return BackboneSpec(name=name, summary="s", factory="acme_net:Net", in_channels=1,
                        options=(Option(name="width", kind="int", default=width),))
"""


@pytest.fixture
def table(install_plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install_plugin("acme", PLUGIN, acme_net=NET)
    (tmp_path / "acme_tables").mkdir()
    (tmp_path / "acme_tables" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acme_tables", raising=False)  # of another test
    return tmp_path / "acme_tables" / "measured.json"


def test_the_command_writes_what_is_listed_afterwards(table: Path, capsys) -> None:
    assert run(["plugins", "measure", "acme"]) == 0
    assert capsys.readouterr().out == f"{table}\n"
    found = read_measurements("acme_tables:measured.json")
    assert {name: one.width for name, one in found.items()} == {"flat": 6, "big": 16}
    assert run(["sources", "list", "--plugin", "acme", "--width", "16"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["big.random", "2D", "16"]


def test_a_plugin_without_a_table_is_told_how_to_name_one() -> None:
    with pytest.raises(PluginError, match=r"plugin timmm: .*measured=.*Did you mean \"timm\""):
        measure_plugin("timmm")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("plugin", ["mini", "monai", "timm", "torchvision", "xrv"])
def test_the_table_of_a_plugin_is_what_its_networks_are(plugin: str) -> None:
    registry = load_registry()
    specs = [spec for owner, spec in registry.families() if owner == plugin]
    specs += [spec for owner, spec in registry.components("backbone") if owner == plugin]
    (place,) = {spec.measured for spec in specs}
    recorded, fresh = read_measurements(place), measure_plugin(plugin, registry)
    assert list(recorded) == list(fresh) != []
    assert recorded == fresh, f"write it anew: medfuse plugins measure {plugin}"
