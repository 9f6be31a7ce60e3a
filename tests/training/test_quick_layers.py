"""Quick dropout and noise are dropout and noise; they come and go whole."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medfuse.heads.noise import GaussianNoise
from medfuse.training import quick_layers as module
from medfuse.training.quick_layers import QuickDropout, QuickNoise, quick_layers

SHAPES = [(1001, 999), (1700, 1000)]  # of one piece of the table, and of two


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_a_part_is_dropped_and_the_rest_scaled_so_that_the_mean_stays(
    p: float, shape: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    found = QuickDropout(p)(torch.ones(shape))
    sigma = (p * (1 - p) / found.numel()) ** 0.5
    assert abs(float((found == 0).float().mean()) - p) < 4 * sigma
    expected = torch.tensor([1 / (1 - p)])
    torch.testing.assert_close(found[found > 0].unique(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_has_its_standard_deviation_and_the_mean_stays(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    noise = QuickNoise(0.7)(torch.full(shape, 3.0)) - 3
    count = noise.numel()
    assert abs(float(noise.mean())) < 4 * 0.7 / count**0.5
    assert float(noise.std()) == pytest.approx(0.7, rel=4 / (2 * count) ** 0.5)
    tails = float((noise.abs() > 2 * 0.7).float().mean())
    assert tails == pytest.approx(0.0455, abs=4 * (0.0455 / count) ** 0.5)


@pytest.mark.parametrize("layer", [QuickDropout(0.5), QuickNoise(1.0)])
def test_values_of_a_batch_and_of_the_next_one_are_independent(layer: nn.Module) -> None:
    torch.manual_seed(0)
    count = 100_000
    drawn = torch.cat([layer(torch.ones(count, 4)) for _ in range(2)], dim=1).double()
    assert float((torch.corrcoef(drawn.T) - torch.eye(8)).abs().max()) < 5 / count**0.5


@pytest.mark.parametrize("layer", [QuickDropout(0.5), QuickNoise(1.0)])
def test_the_same_seed_draws_the_same_whatever_was_drawn_before(layer: nn.Module) -> None:
    x, found = torch.ones(7, 5), []
    for before in (1, 100):
        module._normals.cache_clear()
        module._masks.cache_clear()
        torch.rand(before)
        torch.manual_seed(3)
        found.append(layer(x))
    assert torch.equal(*found)
    assert not torch.equal(layer(x), found[0])


def test_what_is_dropped_has_no_gradient_and_noise_passes_it_on() -> None:
    x = torch.randn(7, 5, requires_grad=True)
    found = QuickDropout(0.5)(x)
    found.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.where(found == 0, 0.0, 2.0))
    x.grad = None
    QuickNoise(1.0)(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_nothing_or_all_is_dropped_as_torch_does(p: float) -> None:
    x = torch.randn(4, 3)
    assert torch.equal(QuickDropout(p)(x), nn.Dropout(p)(x))


@pytest.mark.parametrize("kind", [GaussianNoise, QuickNoise])
def test_no_noise_is_none(kind: type[GaussianNoise]) -> None:
    x = torch.randn(4, 3)
    assert kind(0.0)(x) is x
    assert not torch.equal(kind(0.1)(x), x)


@pytest.mark.parametrize("layer", [QuickDropout(0.5), QuickNoise(1.0), GaussianNoise(1.0)])
def test_a_network_that_does_not_train_is_left_as_it_is(layer: nn.Module) -> None:
    x = torch.randn(4, 3)
    assert layer.eval()(x) is x


def test_layers_are_exchanged_for_the_block_alone() -> None:
    network = nn.Sequential(nn.Dropout(0.2), nn.Sequential(nn.Linear(2, 2), GaussianNoise(0.3)))
    own, names = list(network.modules()), network.state_dict()
    with pytest.raises(KeyError), quick_layers(network):
        inside = list(network.modules())
        assert [type(m) for m in inside if not list(m.children())] == [
            QuickDropout,
            nn.Linear,
            QuickNoise,
        ]
        assert (inside[1].p, inside[4].std) == (0.2, 0.3)
        assert network.state_dict().keys() == names.keys()
        network.eval()
        raise KeyError
    assert list(network.modules()) == own
    assert not any(m.training for m in own)


def test_another_kind_of_dropout_is_left_alone() -> None:
    network = nn.Sequential(nn.AlphaDropout(0.2), nn.Dropout(0.2, inplace=True))
    with quick_layers(network):
        assert not any(isinstance(m, QuickDropout) for m in network.modules())
