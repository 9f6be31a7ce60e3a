"""TorchXRayVision's networks as sources: their files, their keys, their input contract."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from medfuse_xrv import families
from medfuse_xrv.network import XrvDenseNet, XrvResNet
from torch import nn
from torchvision import models

from medfuse.backbones.build import SourceTarget, build_source
from medfuse.config import SourceConfig
from medfuse.errors import WeightsError
from medfuse.registry.vendoring import check_imports
from medfuse.storage import sha256_file

SPECS = {name: families.describe(name) for name in families.names()}
WEIGHTS = [(spec.name, weights.name) for spec in SPECS.values() for weights in spec.weights]


class Xrv:
    """A registry with this plugin alone."""

    def backbone(self, reference):
        return "xrv", SPECS[reference.name]

    def qualified(self, reference):
        return reference


def build(use, size=(32, 32), **settings):
    target = SourceTarget(channels=1, size=size)
    settings = {"levels": 1, "input_size": size, **settings}
    return build_source(SourceConfig(use=use, **settings), Xrv(), target)


class DenseNet(models.DenseNet):
    """A whole network as the library pickles it: one gray channel, 18 findings, own attributes."""

    def __init__(self) -> None:
        super().__init__(32, (6, 12, 24, 16), 64, num_classes=18)
        self.features.conv0 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.pathologies = ["Atelectasis", "Pneumonia"]
        self.register_buffer("op_threshs", torch.ones(18))


@pytest.fixture(scope="module")
def densenet_file(tmp_path_factory):
    """A file in the form of the release: a whole network, in the format of torch before 1.6."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("xrv") / "nih-densenet121-best.pt"
    torch.save(DenseNet().eval(), file, _use_new_zipfile_serialization=False)
    return file


def test_a_file_of_the_release_is_read_and_gives_the_librarys_features(densenet_file):
    built = build(f"xrv:densenet121.nih@{densenet_file}")
    original = torch.load(densenet_file, weights_only=False)
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        theirs = original.features((2 * image - 1) * 1024).relu().mean((2, 3))
        torch.testing.assert_close(built.module(image), theirs)
    assert set(built.card["left_out"]) == {"op_threshs", "classifier.weight", "classifier.bias"}
    assert built.card["container"] == "pickled network"
    assert built.card["training_data"] == ["nih-chestxray14"]
    assert built.card["license"] == "Apache-2.0"


def test_another_file_than_the_known_one_is_refused(densenet_file):
    with pytest.raises(WeightsError, match="sha256 is .*, expected 56524913dd16"):
        build(f"xrv:densenet121.all@{densenet_file}")
    trusted = build(f"xrv:densenet121.all@{densenet_file}", sha256=sha256_file(densenet_file))
    assert trusted.card["sha256_checked"] == "configuration"


@pytest.mark.parametrize("prefix", ["", "model."])
def test_the_resnet_is_a_state_dict_of_torchvision_with_a_gray_stem(tmp_path, prefix):
    torch.manual_seed(0)
    original = models.resnet50(weights=None, num_classes=18).eval()
    original.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    state = {prefix + key: tensor for key, tensor in original.state_dict().items()}
    torch.save({**state, "op_threshs": torch.ones(18)}, tmp_path / "w.pt")
    built = build(f"xrv:resnet50.all@{tmp_path / 'w.pt'}")
    original.fc = nn.Identity()
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(built.module(image), original((2 * image - 1) * 1024))


@pytest.mark.parametrize(("name", "weights"), WEIGHTS)
def test_every_set_says_where_it_is_from_and_what_it_wants(name, weights):
    (found,) = (one for one in SPECS[name].weights if one.name == weights)
    assert found.normalization.input_range == (-1024.0, 1024.0)
    assert found.normalization.mean == (0.0,)
    assert found.input_size == ((224, 224) if name == "densenet121" else (512, 512))
    assert found.url.startswith("https://github.com/mlmed/torchxrayvision/releases/download/v1/")
    assert found.training_data
    assert "arXiv:2111.00595" in found.citation


def test_the_size_that_the_weights_were_trained_at_is_the_default(densenet_file):
    built = build(f"xrv:densenet121.nih@{densenet_file}", input_size=None)
    assert built.identity["input_size"] == [224, 224]
    assert built.identity["adapter"]["input_range"] == [-1024.0, 1024.0]


@pytest.mark.promise("the library itself gives the same features and has no further sets")
def test_the_library_agrees(tmp_path):
    xrv = pytest.importorskip("torchxrayvision", reason="torchxrayvision is not installed")
    urls = {entry["weights_url"] for entry in xrv.models.model_urls.values()}
    assert urls == {one.url for spec in SPECS.values() for one in spec.weights}
    torch.manual_seed(0)
    theirs = xrv.models.DenseNet(num_classes=18).eval()
    torch.save(theirs, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    built = build(f"xrv:densenet121.nih@{tmp_path / 'w.pt'}", size=(64, 64))
    image = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        scaled = torch.from_numpy(xrv.utils.normalize(image.numpy(), 1.0))
        torch.testing.assert_close(built.module(image), theirs.features2(scaled))


@pytest.mark.parametrize("network", [XrvDenseNet, XrvResNet])
def test_a_network_has_no_part_that_is_not_used(network):
    assert not any(key.split(".")[1] in ("fc", "classifier") for key in network().state_dict())


def test_the_vendored_file_imports_torch_and_torchvision_alone():
    check_imports(SPECS["densenet121"].export)


def test_an_unknown_network_is_a_key_error():
    with pytest.raises(KeyError, match="resnet101"):
        families.describe("resnet101")


def test_describing_imports_no_torch():
    code = (
        "import sys, medfuse_xrv.families as f; [f.describe(n) for n in f.names()];"
        "sys.exit(bool({'torch', 'torchvision'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
