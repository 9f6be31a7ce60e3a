"""The maps themselves: what they are before a fit, and that graphs can hold them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medfuse.calibration.dirichlet import DirichletCalibration
from medfuse.calibration.isotonic import IsotonicCalibration
from medfuse.model import FusedNetwork


def bent() -> IsotonicCalibration:
    """Flat below log-odds of -1 and above 2; two of the three knots of class 1 coincide."""
    module = IsotonicCalibration(2, 3)
    module.at.copy_(torch.tensor([[-2.0, 0.0, 1.0], [-1.0, 2.0, 2.0]]))
    module.value.copy_(torch.tensor([[-3.0, 0.0, 0.5], [-0.5, 3.0, 3.0]]))
    return module


def odds_of(logits: torch.Tensor) -> torch.Tensor:
    chance = logits.double().softmax(-1)
    return torch.log(chance / (1 - chance))


@pytest.mark.parametrize("module", [DirichletCalibration(4), IsotonicCalibration(4, 5)])
def test_a_new_map_changes_no_probability(module: nn.Module) -> None:
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * 2
    torch.testing.assert_close(module(logits).softmax(-1), logits.softmax(-1))


def test_isotonic_interpolates_between_its_knots_and_is_flat_beyond_them() -> None:
    odds = torch.tensor([-5.0, -1.0, 0.5, 2.0, 9.0])
    logits = torch.stack([torch.zeros(5), odds], dim=1)
    second = torch.tensor([-0.5, -0.5, 1.25, 3.0, 3.0])
    first = torch.tensor([0.5, 0.5, -0.75, -3.0, -3.0])  # of log-odds 5, 1, -0.5, -2, -9
    expected = torch.stack([first, second], dim=1).sigmoid()
    torch.testing.assert_close(bent()(logits).exp(), expected)


@pytest.mark.parametrize("shift", [-7.0, 0.3])
def test_only_probabilities_matter_not_what_all_logits_share(shift: float) -> None:
    logits = torch.randn(20, 2, generator=torch.Generator().manual_seed(1))
    dirichlet = DirichletCalibration(2)
    dirichlet.weight.copy_(torch.tensor([[2.0, 0.3], [-0.5, 1.5]]))
    for module in (dirichlet, bent()):
        torch.testing.assert_close(module(logits + shift), module(logits), atol=1e-5, rtol=1e-5)


def test_no_logit_moves_the_answer_more_than_the_gain() -> None:
    numbers = torch.Generator().manual_seed(2)
    logits = torch.randn(200, 2, generator=numbers, dtype=torch.float64) * 3
    moved = logits + 1e-4 * torch.randn(200, 2, generator=numbers, dtype=torch.float64).sign()
    module = bent().double()
    change = (odds_of(module(moved)) - odds_of(module(logits))).abs().max()
    assert 0 < change <= 2 * module.gain() * 1e-4


def test_the_map_is_left_out_while_the_network_trains() -> None:
    network = FusedNetwork([nn.Identity()], nn.Identity(), calibration=bent())
    logits = torch.tensor([[0.0, 9.0]])
    assert torch.equal(network.train().calibrated(logits), logits)
    assert not torch.equal(network.eval().calibrated(logits), logits)


def test_a_network_without_a_map_has_the_weights_it_always_had() -> None:
    assert set(FusedNetwork([], nn.Identity()).state_dict()) == {"temperature"}
