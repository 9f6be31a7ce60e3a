"""BiomedCLIP's file: a model of OpenCLIP, whose image tower is a network of timm."""

from __future__ import annotations

import pytest
import timm
import torch
from medfuse_timm import families

from medfuse.backbones.build import SourceTarget, build_source
from medfuse.config import SourceConfig

NAME = "vit_base_patch16_224"


class Timm:
    """A registry with timm alone."""

    def backbone(self, reference):
        return "timm", families.describe(reference.name)

    def qualified(self, reference):
        return reference


@pytest.mark.slow
def test_the_image_tower_of_a_whole_model_is_loaded_and_the_rest_left_out(tmp_path):
    torch.manual_seed(0)
    tower = timm.create_model(NAME, num_classes=0).eval()
    trunk = {f"visual.trunk.{key}": tensor for key, tensor in tower.state_dict().items()}
    beside = {
        "visual.head.proj.weight": torch.ones(512, 768),
        "text.transformer.embeddings.word_embeddings.weight": torch.ones(8, 768),
        "logit_scale": torch.ones(()),
    }
    torch.save({**trunk, **beside}, tmp_path / "open_clip_pytorch_model.bin")
    built = build_source(
        SourceConfig(use=f"timm:{NAME}.biomedclip@{tmp_path / 'open_clip_pytorch_model.bin'}"),
        Timm(),
        SourceTarget(channels=3, size=(224, 224)),
    )
    assert built.card["left_out"] == list(beside)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    image = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(built.module(image), tower((image - mean) / std))
    assert (built.card["license"], built.card["training_data"]) == ("MIT", ["pmc-15m"])


def test_only_its_own_architecture_has_these_weights():
    def names(network: str) -> set[str]:
        return {weights.name for weights in families.describe(network).weights}

    assert "biomedclip" in names(NAME)
    assert "biomedclip" not in names("test_vit")
