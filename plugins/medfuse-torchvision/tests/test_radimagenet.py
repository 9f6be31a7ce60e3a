"""RadImageNet's files: parts of torchvision's networks by number."""

from __future__ import annotations

import pytest
import torch
from medfuse_torchvision import families
from torch import nn
from torchvision import models

from medfuse.backbones.build import SourceTarget, build_source
from medfuse.config import SourceConfig

NETWORKS = {
    "resnet50": ("ResNet50.pt", {}),
    "densenet121": ("DenseNet121.pt", {}),
    "inception_v3": ("InceptionV3.pt", {"aux_logits": False, "init_weights": False}),
}


class Torchvision:
    """A registry with torchvision alone."""

    def backbone(self, reference):
        return "torchvision", families.describe(reference.name)

    def qualified(self, reference):
        return reference


class Published(nn.Module):
    """As the authors' example builds it."""

    def __init__(self, name: str, **options: bool) -> None:
        super().__init__()
        whole = models.get_model(name, weights=None, **options)
        self.backbone = nn.Sequential(*list(whole.children())[:-1])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_published_file_loads_strictly_and_gives_the_networks_features(tmp_path, name):
    torch.manual_seed(0)
    file, options = NETWORKS[name]
    published = Published(name, **options).eval()
    torch.save(published.state_dict(), tmp_path / file)
    built = build_source(
        SourceConfig(
            use=f"torchvision:{name}.radimagenet@{tmp_path / file}", levels=1, input_size=(96, 96)
        ),
        Torchvision(),
        SourceTarget(channels=1, size=(96, 96)),
    )
    image = torch.rand(2, 1, 96, 96)
    with torch.no_grad():
        theirs = published.backbone((2 * image - 1).expand(-1, 3, -1, -1))
        theirs = theirs.relu().mean((2, 3)) if name == "densenet121" else theirs.flatten(1)
        torch.testing.assert_close(built.module(image), theirs)
    assert built.card["left_out"] == []
    assert built.card["license"] == "LicenseRef-research-only"
    assert "10.1148/ryai.210315" in built.card["citation"]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_place_of_each_file_is_known(name):
    (weights,) = (w for w in families.describe(name).weights if w.name == "radimagenet")
    assert weights.hub_id == f"Lab-Rasool/RadImageNet/{NETWORKS[name][0]}"
    assert weights.training_data == ("radimagenet",)


def test_other_networks_have_no_such_weights():
    assert "radimagenet" not in {w.name for w in families.describe("resnet18").weights}
