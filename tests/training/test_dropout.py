"""The quick dropout is dropout: as much is dropped, the mean stays, and it comes and goes whole."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medfuse.training.dropout import QuickDropout, quick_dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_a_part_is_dropped_and_the_rest_scaled_so_that_the_mean_stays(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(1001, 999)
    found = QuickDropout(p)(x)
    sigma = (p * (1 - p) / x.numel()) ** 0.5
    assert abs(float((found == 0).float().mean()) - p) < 4 * sigma
    expected = torch.tensor([1 / (1 - p)])
    torch.testing.assert_close(found[found > 0].unique(), expected, rtol=1e-4, atol=0)


def test_neighbors_are_dropped_independently_of_each_other() -> None:
    torch.manual_seed(0)
    kept = (QuickDropout(0.5)(torch.ones(200_000, 8)) > 0).double()
    assert float((torch.corrcoef(kept.T) - torch.eye(8)).abs().max()) < 5 / 200_000**0.5


def test_the_same_seed_drops_the_same_and_what_is_dropped_has_no_gradient() -> None:
    x = torch.randn(7, 5, requires_grad=True)
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(QuickDropout(0.5)(x))
    assert torch.equal(*found)
    found[0].sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.where(found[0] == 0, 0.0, 2.0))


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_nothing_or_all_is_dropped_as_torch_does(p: float) -> None:
    x = torch.randn(4, 3)
    assert torch.equal(QuickDropout(p)(x), nn.Dropout(p)(x))


def test_a_network_that_does_not_train_is_left_as_it_is() -> None:
    x = torch.randn(4, 3)
    assert QuickDropout(0.5).eval()(x) is x


def test_layers_are_exchanged_for_the_block_alone() -> None:
    network = nn.Sequential(nn.Dropout(0.2), nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.3)))
    own, names = [m for m in network.modules() if isinstance(m, nn.Dropout)], network.state_dict()
    with pytest.raises(KeyError), quick_dropout(network):
        inside = [m for m in network.modules() if isinstance(m, nn.Dropout)]
        assert [(type(m), m.p) for m in inside] == [(QuickDropout, 0.2), (QuickDropout, 0.3)]
        assert network.state_dict().keys() == names.keys()
        network.eval()
        raise KeyError
    assert [m for m in network.modules() if isinstance(m, nn.Dropout)] == own
    assert not any(m.training for m in own)


def test_another_kind_of_dropout_is_left_alone() -> None:
    network = nn.Sequential(nn.AlphaDropout(0.2), nn.Dropout(0.2, inplace=True))
    with quick_dropout(network):
        assert not any(isinstance(m, QuickDropout) for m in network.modules())
