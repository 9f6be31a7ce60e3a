"""Grad-CAM shows the place that was put into the image, through the source that sees it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from medfuse.backbones.slices import SlicedSource
from medfuse.backbones.source import Source
from medfuse.explanation.grad_cam import grad_cam, grad_cam_plus_plus
from medfuse.explanation.occlusion import occlusion
from medfuse.explanation.reading import find_reading
from medfuse.explanation.rollout import attention_rollout
from medfuse.explanation.view import SourceView, log_odds
from medfuse.fusion.slice_attention import SliceAttention
from medfuse.model import FeatureClassifier, FusedNetwork

_spec = importlib.util.spec_from_file_location(
    "explanation_fixtures", Path(__file__).with_name("conftest.py")
)
fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fixtures)
bright_network, spot, Concat = fixtures.bright_network, fixtures.spot, fixtures.Concat


def strongest(saliency):
    return np.unravel_index(int(saliency.argmax()), tuple(saliency.shape))


@pytest.mark.parametrize("levels", [False, True])
@pytest.mark.parametrize("make", [grad_cam, grad_cam_plus_plus, occlusion])
def test_the_strongest_place_is_the_bright_one_on_an_image_that_is_not_square(make, levels):
    network = bright_network(levels=levels)
    found = make(network)(spot((64, 96), (20, 70)), 1)
    assert tuple(found["source 0"].shape) == (64, 96)
    assert np.abs(np.subtract(strongest(found["source 0"]), (20, 70))).max() <= 4


def test_a_source_that_the_head_does_not_read_shows_nothing(network):
    found = grad_cam(network)(spot((64, 64), (20, 40)), 1)
    assert float(found["source 1"].abs().max()) == 0


def test_what_speaks_for_one_of_two_classes_does_not_speak_for_the_other(network):
    assert float(grad_cam(network)(spot((64, 64), (20, 40)), 0)["source 0"].max()) == 0


def test_a_map_of_stride_8_lies_where_its_cells_look_and_not_half_a_cell_further(network):
    found = grad_cam(network)(spot((64, 64), (24, 40), side=2), 1)["source 0"]
    mass = found / found.sum()
    row = float((mass.sum(1) * torch.arange(64)).sum())
    assert abs(row - 24) < 1.5  # resizing alone puts it at 27.5


def test_levels_that_stand_in_the_vector_are_found_and_add_up_to_the_log_odds():
    network = bright_network(levels=True)
    image = spot((64, 64), (20, 40))
    reading = find_reading(network.sources[0], image)
    assert [level.place.path for level in reading.levels] == ["backbone.one", "backbone.two"]
    assert reading.last.path in ("backbone.three", "backbone", "")
    found = grad_cam(network)(image, 1)["source 0"]
    shown = float(log_odds(network(image))[0, 1])  # linear and without negative parts
    assert float(found.mean()) == pytest.approx(shown, rel=0.2)


def test_a_named_layer_is_taken_alone(network):
    explainer = grad_cam(network, layer="two")
    explainer(spot((64, 64), (20, 40)), 1)
    assert explainer.layers() == {"source 0": "two", "source 1": "two"}


def test_a_volume_seen_by_a_3d_network_is_shown_in_three_dimensions():
    found = grad_cam(bright_network(3))(spot((32, 40, 48), (8, 24, 32)), 1)["source 0"]
    assert np.abs(np.subtract(strongest(found), (8, 24, 32))).max() <= 4


def test_the_slices_of_a_volume_are_shown_by_slice():
    plain = bright_network().sources[0]
    pool = SliceAttention(4).eval()
    head = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0] * 4, [1.0, 0, 0, 0]]))
    classifier = FeatureClassifier([4], Concat(), head, pooling=[pool])
    network = FusedNetwork([SlicedSource(plain, 20)], classifier).eval().requires_grad_(False)
    found = grad_cam(network)(spot((32, 32, 20), (8, 16, 12), side=2), 1)["source 0"]
    assert tuple(found.shape) == (32, 32, 20)
    assert 11 <= strongest(found)[2] <= 13


def test_a_vision_transformer_is_read_where_its_class_token_still_looks():
    torch.manual_seed(0)
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=64, depth=3, num_classes=0, in_chans=1
    ).eval()

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = vit

        def forward(self, x):
            y = self.net.forward_features(x)
            grid = y[:, 1:].transpose(1, 2).reshape(len(y), -1, 4, 4)
            return grid, self.net.forward_head(y, pre_logits=True)

    source = Source(Whole(), nn.Identity())
    network = FusedNetwork([source], FeatureClassifier([192], Concat(), nn.Linear(192, 3)))
    network = network.eval().requires_grad_(False)
    image = torch.rand(1, 1, 64, 64)
    assert find_reading(source, image).last.path == "net.blocks.2.norm1"
    assert tuple(grad_cam(network)(image, 0)["source 0"].shape) == (64, 64)
    rolled = attention_rollout(network)(image, 0)["source 0"]
    by_hand = _rollout_by_hand(vit, image)
    assert np.allclose(rolled[8::16, 8::16], by_hand, atol=float(by_hand.max()) * 0.5)
    assert vit.blocks[0].attn.fused_attn in (True, False)


def _rollout_by_hand(vit, image):
    """Rollout from the query and key weights themselves."""
    x = vit.patch_embed(image)
    x = torch.cat([vit.cls_token.expand(1, -1, -1), x], 1) + vit.pos_embed
    flow = torch.eye(17)
    for block in vit.blocks:
        y = block.norm1(x)
        q, k, _ = block.attn.qkv(y).reshape(1, 17, 3, 3, 64).permute(2, 0, 3, 1, 4)
        attention = ((q * 64**-0.5) @ k.transpose(-2, -1)).softmax(-1)[0].mean(0)
        flow = (0.5 * attention + 0.5 * torch.eye(17)) @ flow
        x = block(x)
    return flow[0, 1:].reshape(4, 4).detach()


class Rim(nn.Module):
    """One map that answers a bright place, and more strongly missing neighbors at the border."""

    def __init__(self, only: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.only = only
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.bias.zero_()
            self.conv.weight[0] = -1.0  # fewer neighbors at the border, so more is left
            self.conv.weight[0, 0, 1, 1] = 2.0
            self.conv.bias[0] = 3.0

    def forward(self, x):
        if self.only and tuple(x.shape[2:]) != self.only:
            raise AssertionError(f"takes {self.only}")
        return self.conv(x).relu(), None


def rim_network(only=None):
    head = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    source = Source(Rim(only), nn.Identity())
    network = FusedNetwork([source], FeatureClassifier([2], Concat(), head))
    return network.eval().requires_grad_(False)


def test_what_padding_does_to_the_border_is_not_shown():
    image = torch.full((1, 1, 32, 32), 0.5)
    image[0, 0, 12, 20] = 1.0
    network = rim_network()
    answers = network.sources[0].backbone(image)[0][0, 0]
    assert strongest(answers) != (12, 20)  # the corner answers more strongly than the spot
    assert strongest(grad_cam(network)(image, 1)["source 0"]) == (12, 20)


def test_a_network_of_one_size_keeps_the_maps_that_it_has():
    image = torch.full((1, 1, 32, 32), 0.5)
    found = grad_cam(rim_network(only=(32, 32)))(image, 1)["source 0"]
    assert strongest(found)[0] in (0, 31)


def test_a_finding_at_the_border_is_shown_there(network):
    found = grad_cam(network)(spot((64, 64), (3, 40)), 1)["source 0"]
    assert np.abs(np.subtract(strongest(found), (3, 40))).max() <= 4


@pytest.mark.parametrize("fill", ["blur", "blur_to_black", "mean_patch", "mean_image"])
def test_every_fill_hides_the_bright_place(network, fill):
    found = occlusion(network, fill=fill)(spot((64, 64), (20, 40)), 1)["source 0"]
    assert np.abs(np.subtract(strongest(found), (20, 40))).max() <= 8


def test_blur_hides_nothing_where_the_image_is_smooth(network):
    image = torch.linspace(0, 1, 64).expand(1, 1, 64, 64).clone()
    image[0, 0, 20:24, 30:34] = 0.2
    found = {f: occlusion(network, fill=f)(image, 1)["source 0"] for f in ("blur", "blur_to_black")}
    smooth = {fill: float(one[40:, 40:].max()) for fill, one in found.items()}
    assert smooth["blur"] < 0.1 * smooth["blur_to_black"]


@pytest.mark.parametrize("make", [grad_cam, occlusion])
def test_explaining_leaves_the_network_in_eval_mode(network, make):
    make(network)(spot((64, 64), (20, 40)), 1)
    assert not any(module.training for module in network.modules())


def test_a_network_without_attention_is_left_out_of_the_rollout(network):
    assert attention_rollout(network)(spot((64, 64), (20, 40)), 1) == {}


def test_the_view_of_a_source_gives_the_log_odds_of_the_network(network):
    image = spot((64, 64), (20, 40))
    logits = network(image)
    chance = logits.softmax(1)
    torch.testing.assert_close(SourceView(network, 0, (image,))(image), torch.logit(chance))
