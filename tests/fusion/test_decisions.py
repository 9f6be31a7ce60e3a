"""Decision fusions against numpy."""

from __future__ import annotations

import numpy as np
import torch

from medfuse.fusion.average import AverageFusion
from medfuse.fusion.stacking import StackingFusion
from medfuse.fusion.weighted_average import WeightedAverageFusion


def _decisions() -> torch.Tensor:
    torch.manual_seed(3)
    return torch.randn(6, 3, 4).log_softmax(-1)


def test_average_is_the_log_of_numpys_mean_probability() -> None:
    decisions = _decisions()
    found, shares = AverageFusion(3, 4)(decisions, torch.ones(6, 3))
    np.testing.assert_allclose(found, np.log(np.exp(decisions.numpy()).mean(1)), rtol=1e-5)
    np.testing.assert_allclose(shares, 1 / 3, rtol=1e-6)


def test_average_counts_present_sources_only() -> None:
    decisions, mask = _decisions(), torch.tensor([[1.0, 0.0, 1.0]]).expand(6, 3)
    found, _ = AverageFusion(3, 4)(decisions, mask)
    np.testing.assert_allclose(found, np.log(np.exp(decisions.numpy())[:, ::2].mean(1)), rtol=1e-5)


def test_average_survives_impossible_classes() -> None:
    decisions = torch.tensor([[[0.0, -torch.inf], [0.0, -torch.inf]]])
    found, _ = AverageFusion(2, 2)(decisions, torch.ones(1, 2))
    assert torch.isfinite(found).all()


def test_weighted_average_is_numpys_weighted_mean() -> None:
    fusion, decisions = WeightedAverageFusion(3, 4), _decisions()
    fusion.scores.data = torch.tensor([1.0, 0.0, -1.0])
    weights = fusion.scores.softmax(0).detach().numpy()
    found, _ = fusion(decisions, torch.ones(6, 3))
    expected = np.log(np.average(np.exp(decisions.numpy()), axis=1, weights=weights))
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-5)


def test_unfitted_weights_are_the_average() -> None:
    decisions, mask = _decisions(), torch.ones(6, 3)
    found = WeightedAverageFusion(3, 4)(decisions, mask)
    torch.testing.assert_close(found, AverageFusion(3, 4)(decisions, mask))


def test_unfitted_stacking_is_the_geometric_mean() -> None:
    decisions = _decisions()
    found, shares = StackingFusion(3, 4)(decisions, torch.ones(6, 3))
    torch.testing.assert_close(found, decisions.mean(1).log_softmax(-1))
    assert shares is None


def test_stacking_is_a_logistic_regression_on_the_log_probabilities() -> None:
    fusion, decisions = StackingFusion(3, 4), _decisions()
    torch.nn.init.normal_(fusion.weight)
    linear = torch.nn.Linear(12, 4)
    linear.weight.data = fusion.weight.data.flatten(0, 1).T
    linear.bias.data.zero_()
    found, _ = fusion(decisions, torch.ones(6, 3))
    torch.testing.assert_close(found, linear(decisions.flatten(1)).log_softmax(-1))
