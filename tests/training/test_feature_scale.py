"""Scales of features from few cases: moderated by each other, and numpy's where there are many."""

from __future__ import annotations

import numpy as np
import torch

from medfuse.training.feature_scale import feature_scale


def _features(count: int, seed: int = 0) -> torch.Tensor:
    """Return 200 features whose true standard deviations lie between 0.7 and 1.4."""
    numbers = np.random.default_rng(seed)
    scale = np.linspace(0.7, 1.4, 200)
    return torch.from_numpy(numbers.normal(size=(count, 200)) * scale)


def test_of_few_cases_scales_are_nearer_the_truth_than_each_alone() -> None:
    truth = torch.linspace(0.7, 1.4, 200, dtype=torch.float64)
    few = _features(12)
    moderated, alone = feature_scale(few).log(), few.std(0, correction=0).log()
    errors = [float(((x - truth.log()) ** 2).mean()) for x in (moderated, alone)]
    assert errors[0] < 0.7 * errors[1]


def test_the_share_of_the_median_is_that_of_the_published_formula() -> None:
    values = _features(25)
    rows = values.numpy()
    count = len(rows)
    squared = (rows - rows.mean(0)) ** 2
    unbiased = count / (count - 1) * squared.mean(0)
    of_each = count / (count - 1) ** 3 * ((squared - squared.mean(0)) ** 2).sum(0)
    share = of_each.sum() / ((unbiased - np.median(unbiased)) ** 2).sum()
    found = feature_scale(values).numpy() ** 2 * count / (count - 1)
    # torch takes the lower one of two medians.
    median = np.sort(unbiased)[99]
    np.testing.assert_allclose(found, share * median + (1 - share) * unbiased, rtol=0.02)


def test_a_feature_that_hardly_varies_by_chance_is_not_blown_up() -> None:
    values = _features(25)
    values[:, 0] = 0.0
    values[0, 0] = 1e-3
    assert values[:, 0].std(correction=0) < 0.001
    assert feature_scale(values)[0] > 0.1


def test_of_many_cases_scales_are_numpys() -> None:
    values = _features(20000)
    torch.testing.assert_close(
        feature_scale(values), values.std(0, correction=0), rtol=2e-3, atol=0
    )


def test_a_constant_feature_and_a_single_case_keep_their_scale() -> None:
    values = _features(25)
    values[:, 3] = 7.0
    assert feature_scale(values)[3] == 1
    assert (feature_scale(values[:1]) == 1).all()
    alone = feature_scale(values[:, :1])
    torch.testing.assert_close(alone, values[:, :1].std(0, correction=0))


def test_tokens_of_a_case_are_one_observation() -> None:
    values = _features(25)
    repeated = values[:, None].expand(-1, 4, -1)
    torch.testing.assert_close(feature_scale(repeated), feature_scale(values))


def test_constant_features_leave_the_scale_of_the_others_alone() -> None:
    values = _features(25)
    constant = torch.zeros(25, 300, dtype=torch.float64)
    found = feature_scale(torch.cat([values, constant], dim=1))
    torch.testing.assert_close(found[:200], feature_scale(values))
    rare = torch.zeros(25, 10)
    rare[0, 0] = 1.0
    torch.testing.assert_close(feature_scale(rare)[0], rare[:, 0].double().std(correction=0))
    tokens = torch.zeros(6, 4, 3)
    tokens[0, :, 0] = torch.tensor([1.0, -1.0, 1.0, -1.0])
    assert feature_scale(tokens)[0] > 0
