"""What earlier stages saw, beside a backbone's own vector."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import nn

from medfuse.backbones.levels import LevelsBackbone


class Net(nn.Module):
    """Three stages; the map of the second is changed in place behind it."""

    def __init__(self, pooled: bool = True) -> None:
        super().__init__()
        self.one = nn.Conv2d(1, 3, 3, stride=2)
        self.two = nn.Conv2d(3, 4, 3, stride=2)
        self.three = nn.Conv2d(4, 5, 1)
        self.pooled = pooled

    def forward(self, x):
        y = self.two(self.one(x))
        feature_map = self.three(y.relu_())
        return feature_map, feature_map.mean((2, 3)) * 7 if self.pooled else None


def stage(path: str, channels_last: bool = False) -> dict[str, object]:
    return {"module_path": path, "channels_last": channels_last}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


def test_own_vector_then_the_means_of_the_stages(net):
    image = torch.rand(2, 1, 33, 29)
    _, vector = LevelsBackbone(net, [stage("one"), stage("two")])(image)
    one = net.one(image)
    means = [feature_map.mean((2, 3)) for feature_map in (one, net.two(one))]
    torch.testing.assert_close(vector, torch.cat([net(image)[1], *means], 1))
    assert vector.shape == (2, 5 + 3 + 4)


def test_without_a_vector_of_its_own_the_map_is_averaged():
    net = Net(pooled=False).eval()
    feature_map, vector = LevelsBackbone(net, [stage("one")])(torch.rand(2, 1, 20, 20))
    torch.testing.assert_close(vector[:, :5], feature_map.mean((2, 3)))


def test_a_stage_with_channels_last_is_read_along_its_grid():
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.move = nn.Identity()

        def forward(self, x):
            return x, self.move(x.movedim(1, -1)).mean((1, 2))

    image = torch.rand(2, 3, 6, 5)
    _, vector = LevelsBackbone(Last(), [stage("move", channels_last=True)])(image)
    torch.testing.assert_close(vector[:, 3:], image.mean((2, 3)))


def test_a_copy_reads_its_own_stages(net):
    copied = copy.deepcopy(LevelsBackbone(net, [stage("one")]))
    image = torch.rand(2, 1, 20, 20)
    before = copied(image)[1]
    nn.init.zeros_(net.one.weight)
    torch.testing.assert_close(copied(image)[1], before)


def test_no_hook_is_left_when_the_backbone_fails(net):
    levels = LevelsBackbone(net, [stage("one")])
    with pytest.raises(RuntimeError):
        levels(torch.rand(2, 9, 20, 20))
    assert not net.one._forward_hooks


def test_a_trace_gives_the_same_for_other_images(net):
    levels = LevelsBackbone(net, [stage("one"), stage("two")])
    with torch.no_grad():
        traced = torch.jit.trace(levels, torch.rand(2, 1, 33, 29))
        image = torch.rand(3, 1, 33, 29)
        torch.testing.assert_close(traced(image)[1], levels(image)[1])


def test_threads_do_not_mix_their_images(net):
    levels = LevelsBackbone(net, [stage("one"), stage("two")])
    images = [torch.rand(1, 1, 40, 40) for _ in range(8)]
    with torch.no_grad():
        alone = [levels(image)[1] for image in images]
        found: list[list[torch.Tensor]] = [[] for _ in images]

        def run(number: int) -> None:
            for _ in range(30):
                found[number].append(levels(images[number])[1])

        with torch.inference_mode(False):
            threads = [threading.Thread(target=run, args=(n,)) for n in range(len(images))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    for expected, results in zip(alone, found, strict=True):
        assert len(results) == 30
        for result in results:
            torch.testing.assert_close(result.detach(), expected)
