"""A source gives features, and its frozen parts do not move."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medfuse.backbones.adapter import Adapter
from medfuse.backbones.source import Source


class Backbone(nn.Module):
    """Two blocks with batch statistics and dropout, and a vector of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
        self.second = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))

    def forward(self, x):
        feature_map = self.second(self.first(x))
        return feature_map, feature_map.amax((2, 3))


def source(**keywords) -> Source:
    return Source(Backbone(), Adapter(1), **keywords)


IMAGE = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_native_pooling_gives_the_backbones_own_vector():
    built = source().eval()
    assert torch.equal(built(IMAGE), built.backbone(IMAGE)[1])


def test_average_pooling_gives_the_mean_of_the_map():
    built = source(pooling="average").eval()
    torch.testing.assert_close(built(IMAGE), built.backbone(IMAGE)[0].mean((2, 3)))


def test_a_grid_gives_tokens_rows_first_whose_mean_is_the_average():
    built = source(pooling="grid", grid=2).eval()
    tokens, feature_map = built(IMAGE), built.backbone(IMAGE)[0]
    assert tokens.shape == (2, 4, 4)
    torch.testing.assert_close(tokens[:, 1], feature_map[:, :, :4, 4:].mean((2, 3)))
    torch.testing.assert_close(tokens.mean(1), feature_map.mean((2, 3)))


def test_a_volume_gives_grid_cubed_tokens():
    built = Source(nn.Conv3d(1, 5, 1), Adapter(1), pooling="grid", grid=2)
    assert built(torch.rand(1, 1, 4, 6, 4)).shape == (1, 8, 5)


def test_a_backbone_that_gives_one_tensor_is_accepted():
    assert Source(nn.Conv2d(1, 3, 1), Adapter(1))(IMAGE).shape == (2, 3)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    assert Source(flat, Adapter(1))(IMAGE).shape == (2, 5)


def test_a_grid_of_a_backbone_without_map_is_refused():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    with pytest.raises(ValueError, match="gives no feature map"):
        Source(flat, Adapter(1), pooling="grid")(IMAGE)


def test_frozen_statistics_and_dropout_do_not_move_in_training_mode():
    built = source().eval()
    before = {k: v.clone() for k, v in built.state_dict().items()}
    expected = built(IMAGE)
    built.train()
    assert torch.equal(built(IMAGE), expected)
    assert all(torch.equal(v, before[k]) for k, v in built.state_dict().items())
    assert not any(p.requires_grad for p in built.parameters())


def test_a_trainable_part_trains_and_the_rest_stays():
    built = source(trainable=("second",)).train()
    built(IMAGE)
    assert {n for n, p in built.named_parameters() if not p.requires_grad} == {
        f"backbone.first.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias")
    }
    assert built.backbone.second[2].training
    assert not built.backbone.first[1].training
    assert built.backbone.first[1].num_batches_tracked == 0
    assert built.backbone.second[1].num_batches_tracked == 1


def test_after_means_all_that_follows():
    built = source(trainable=("after:first",)).train()
    assert built.backbone.second[1].training
    assert not built.backbone.first.training
    assert source(trainable=("after:first.0",)).train().backbone.first[1].training


def test_all_trains_everything_and_can_be_taken_back():
    built = source(trainable="all").train()
    assert all(p.requires_grad for p in built.parameters())
    assert all(m.training for m in built.backbone.modules())
    built.set_trainable(())
    assert built.training
    assert not any(m.training for m in built.backbone.modules())


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="no module 'third'"):
        source(trainable=("third",))


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="expected native, average or grid"):
        source(pooling="max")


@pytest.mark.parametrize(
    ("policy", "statistics", "affine"),
    [("train", True, True), ("affine", False, True), ("frozen", False, False)],
)
def test_batch_norm_of_a_part_that_learns_follows_its_policy(policy, statistics, affine):
    built = source(trainable=("second",), batch_norm=policy).train()
    norm, before = built.backbone.second[1], built.backbone.second[1].running_mean.clone()
    built(IMAGE)
    assert torch.equal(norm.running_mean, before) != statistics
    assert norm.weight.requires_grad == affine
    assert built.backbone.second[0].weight.requires_grad
    assert built.backbone.second[2].training
    assert not built.backbone.first[1].weight.requires_grad


def test_an_unknown_policy_of_batch_norm_is_refused():
    with pytest.raises(ValueError, match="expected train, affine or frozen"):
        source(batch_norm="eval")
