from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from medfuse.backbones import slices
from medfuse.backbones.slices import SlicedSource
from medfuse.backbones.source import Source


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3)
        self.last = nn.Conv2d(4, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x).relu())


def _source() -> Source:
    torch.manual_seed(0)
    return Source(_Net(), nn.Identity(), "average").eval()


@pytest.mark.parametrize("at_once", [1, 3, 8, 20])
def test_each_slice_has_the_features_it_has_as_an_image(at_once: int) -> None:
    source, volume = _source(), torch.rand(2, 1, 8, 9, 7)
    features = SlicedSource(source, 7, at_once)(volume)
    assert features.shape == (2, 7, 6)
    for k in range(7):
        torch.testing.assert_close(features[:, k], source(volume[..., k]))


def test_no_more_slices_are_in_the_network_than_allowed() -> None:
    seen: list[int] = []
    source = _source()
    source.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    sliced = SlicedSource(source, 10, at_once=4)
    sliced(torch.rand(2, 1, 8, 8, 10))
    assert seen == [4] * 5
    seen.clear()
    assert sliced(torch.rand(6, 1, 8, 8, 10)).shape == (6, 10, 6)
    assert seen == [4] * 10 + [4] * 5


def _learning() -> Source:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 1))
    return Source(body, nn.Identity(), "average", trainable="all").train()


def _whole(source: Source, volume: Tensor, at_once: int) -> Tensor:
    """The same slabs, with everything kept for the backward pass."""
    slabs = volume.split(max(1, at_once // len(volume)), dim=-1)
    images = [slab.permute(0, 4, 1, 2, 3) for slab in slabs]
    return torch.cat([source(i.flatten(0, 1)).view(*i.shape[:2], -1) for i in images], dim=1)


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "KEPT_BYTES", 0)


def test_computing_a_slab_again_changes_neither_gradients_nor_batch_statistics(no_room) -> None:
    volume = torch.rand(2, 1, 8, 8, 9)
    found, expected = _learning(), _learning()
    SlicedSource(found, 9, at_once=4)(volume).square().sum().backward()
    _whole(expected, volume, 4).square().sum().backward()
    for one, two in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)
    for one, two in zip(found.buffers(), expected.buffers(), strict=True):
        torch.testing.assert_close(one, two)


def _kept_bytes(count: int) -> int:
    """What all slabs but the first keep for the backward pass, beside the volume itself."""
    volume = torch.rand(2, 1, 32, 32, count)
    kept: dict[int, int] = {volume.untyped_storage().data_ptr(): 0}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept.setdefault(storage.data_ptr(), storage.nbytes())
        return tensor

    source = SlicedSource(_learning(), count, at_once=4)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = source(volume)
    assert features.requires_grad
    return sum(kept.values())


def test_training_keeps_no_activations_beyond_the_first_slab(no_room) -> None:
    assert _kept_bytes(40) < 4 * 30 * 30 * 4


def test_what_fits_is_kept_and_not_computed_twice() -> None:
    source = _learning()
    calls: list[int] = []
    source.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    SlicedSource(source, 12, at_once=4)(torch.rand(1, 1, 8, 8, 12)).sum().backward()
    assert calls == [4, 4, 4]


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_a_trace_holds_for_batches_of_any_size(batch: int) -> None:
    sliced = SlicedSource(_source(), 10, at_once=4)
    traced = torch.jit.trace(sliced, torch.rand(2, 1, 8, 8, 10))
    volume = torch.rand(batch, 1, 8, 8, 10)
    torch.testing.assert_close(traced(volume), sliced(volume))


def test_freezing_reaches_the_network_for_images() -> None:
    sliced = SlicedSource(_source(), 3)
    assert not any(p.requires_grad for p in sliced.parameters())
    sliced.set_trainable(["last"])
    assert [n for n, p in sliced.named_parameters() if p.requires_grad] == [
        "source.backbone.last.weight",
        "source.backbone.last.bias",
    ]
    sliced.train()
    assert not sliced.source.backbone.body.training
    assert sliced.source.backbone.last.training
