"""`medfuse sources verify`: weights are loaded as a run would load them, and tried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medfuse.cli.main import run
from medfuse.errors import SourceError, WeightsError
from medfuse.storage import sha256_file
from medfuse.workflows.sources import verify_source

PLUGIN = """
from medfuse.contract import *

@hookimpl
def medfuse_backbones():
    yield BackboneSpec(
        name="net", summary="s", factory="acme_net:Net", in_channels=1,
        weights=(WeightsSpec(name="w", path="WEIGHTS", sha256="SHA", license="MIT"),),
    )
"""
NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, stride=2)
    def forward(self, x):
        return self.conv(x)OUTPUT, None
"""


@pytest.fixture
def acme(install_plugin, tmp_path: Path):
    """Install a plugin whose weights are ``state``."""

    def install(output: str = "", sha256: str = "", **changes: torch.Tensor) -> Path:
        file = tmp_path / "w.safetensors"
        state = {"conv.weight": torch.ones(6, 1, 3, 3), "conv.bias": torch.zeros(6), **changes}
        save_file(state, file)
        source = PLUGIN.replace("WEIGHTS", str(file)).replace("SHA", sha256 or sha256_file(file))
        install_plugin("acme", source, acme_net=NET.replace("OUTPUT", output))
        return file

    return install


def test_sound_weights_are_described(acme) -> None:
    file = acme()
    found = verify_source("acme:net.w")
    assert (found.source, found.file, found.license) == ("acme:net.w", "w.safetensors", "MIT")
    assert (found.sha256, found.published) == (sha256_file(file), True)
    assert found.feature_dim == 6


def test_a_file_of_ones_own_has_no_published_digest_to_agree_with(acme, tmp_path: Path) -> None:
    file = acme(sha256="a" * 64)
    assert verify_source(f"acme:net@{file}").published is False


def test_another_digest_is_refused(acme) -> None:
    acme(sha256="a" * 64)
    with pytest.raises(WeightsError, match=r"w\.safetensors.*aaaa"):
        verify_source("acme:net.w")


def test_keys_that_do_not_fit_are_refused(acme) -> None:
    acme(extra=torch.zeros(2))
    with pytest.raises(
        WeightsError, match=r"1 key too many \(extra\)\. Set remap: \{\"extra\": \"-\"\}"
    ):
        verify_source("acme:net.w")


def test_weights_with_nan_are_refused_by_name(acme) -> None:
    acme(**{"conv.bias": torch.full((6,), torch.nan)})
    with pytest.raises(WeightsError, match=r"acme:net\.w: conv\.bias holds NaN or infinity"):
        verify_source("acme:net.w")


def test_a_network_that_gives_nan_is_refused(acme) -> None:
    acme(output=" * float('nan')")
    with pytest.raises(SourceError, match="source acme:net.w: 18 of 18 features .* NaN"):
        verify_source("acme:net.w")


def test_a_shape_that_depends_on_the_batch_is_refused(acme) -> None:
    acme(output="[:1]")
    with pytest.raises(SourceError, match=r"gives \(1, 6\) for 3 images, expected \(3, 6\)"):
        verify_source("acme:net.w")


def test_the_command_prints_what_was_checked(capsys) -> None:
    assert run(["sources", "verify", "mini:resnet"]) == 0
    assert "as published" in capsys.readouterr().out
    assert run(["sources", "verify", "mini:resnet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["feature_dim"] == 416


def test_the_command_ends_with_1_where_something_is_wrong(acme, capsys) -> None:
    acme(extra=torch.zeros(2))
    assert run(["sources", "verify", "acme:net.w"]) == 1
    assert "medfuse: error: source acme:net.w: 1 key too many" in capsys.readouterr().err


def test_a_plain_name_is_reported_with_the_family_that_it_stands_for() -> None:
    found = verify_source("mobilenet_v3_small.random")
    assert found.source == "timm:mobilenetv3_small_100.random"


def test_genuine_weights_pass(shared_weights: Path) -> None:
    file = shared_weights / "mobilenetv2_035.keras_in1k.safetensors"
    found = verify_source(f"timm:mobilenetv2_035@{file}")
    assert found.feature_dim == 1280 + 112 + 32 + 16
    assert found.left_out == ()
