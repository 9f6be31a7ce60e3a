"""Scores of maps whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from medfuse.explanation.neighbors import FeatureIndex
from medfuse.explanation.randomize import cascade, randomized
from medfuse.explanation.scores import (
    energy_inside,
    faithfulness,
    points_at,
    rank_correlation,
)
from medfuse.explanation.shares import source_effects
from medfuse.model import FeatureClassifier, FusedNetwork


def brightness(image):
    return image[:, 0, 10:16, 20:26].mean((1, 2))


def test_a_faithful_map_loses_the_class_first_and_finds_it_first():
    image = torch.zeros(1, 1, 64, 64)
    image[0, 0, 10:16, 20:26] = 1
    right, wrong = np.zeros((64, 64)), np.zeros((64, 64))
    right[10:16, 20:26] = 1
    wrong[40:46, 40:46] = 1
    good, bad = (faithfulness(brightness, image, one) for one in (right, wrong))
    assert good.deletion < bad.deletion - 0.2
    assert good.insertion > 0.9 > bad.insertion + 0.2


def test_pointing_allows_three_percent_of_the_longest_side():
    mask = np.zeros((100, 50), bool)
    mask[20:30, 20:30] = True
    near, far = np.zeros((100, 50)), np.zeros((100, 50))
    near[32, 25] = far[35, 25] = 1
    assert points_at(near, mask)
    assert not points_at(far, mask)
    assert not points_at(near, mask, tolerance=0.01)
    assert not points_at(np.zeros((100, 50)), mask)


def test_energy_inside_is_a_fraction():
    saliency, mask = np.ones((10, 10)), np.zeros((10, 10), bool)
    mask[:5, :5] = True
    assert energy_inside(saliency, mask) == 0.25
    assert energy_inside(np.zeros((10, 10)), mask) == 0


def test_rank_correlation_sees_order_alone():
    one = np.arange(12.0).reshape(3, 4)
    assert rank_correlation(one, one**3) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert rank_correlation(one, np.zeros((3, 4))) == 0


class Sum(nn.Module):
    def forward(self, features, mask):  # noqa: ARG002
        return torch.cat(features, 1), None


def linear_network():
    torch.manual_seed(0)
    sources = [nn.Sequential(nn.Flatten(), nn.Linear(16, 3)) for _ in range(2)]
    classifier = FeatureClassifier([3, 3], Sum(), nn.Linear(6, 2))
    classifier.standardize[0].fit(torch.randn(50, 3) + 2)
    return FusedNetwork(sources, classifier).eval().requires_grad_(False)


def test_the_effect_of_a_source_is_the_fall_of_the_log_odds_with_average_features():
    network, image = linear_network(), torch.rand(1, 1, 4, 4)
    features = network.extract(image)
    without = [network.classifier.standardize[0].mean[None], features[1]]
    whole, rest = network.classifier(features)[0], network.classifier(without)[0]
    expected = float((whole[1] - whole[0]) - (rest[1] - rest[0]))
    assert source_effects(network, (image,), 1)[0] == pytest.approx(expected, abs=1e-5)


def test_randomizing_changes_more_and_more_and_leaves_the_network_alone():
    network = linear_network()
    before = [p.clone() for p in network.parameters()]
    changed = [
        sum(bool((p != q).any()) for p, q in zip(before, other.parameters(), strict=True))
        for _, other in cascade(network)
    ]
    assert changed == sorted(changed)
    assert changed[0] == 2
    assert changed[-1] == len(before)
    assert all(torch.equal(p, q) for p, q in zip(before, network.parameters(), strict=True))
    again = randomized(network)
    assert torch.equal(next(again.parameters()), next(randomized(network).parameters()))


def test_the_nearest_training_case_is_the_one_whose_standardized_features_are_alike():
    values = np.array([[0.0, 0], [100, 1], [5, 5], [np.nan, 0]])
    index = FeatureIndex(values, np.zeros(2), np.array([100.0, 1]))
    rows = index.nearest(np.array([90.0, 0.9]), 2)
    assert [row for row, _ in rows] == [1, 0]
    assert rows[0][1] == pytest.approx(0.1, abs=1e-6)
    assert len(index.nearest(np.zeros(2), 9)) == 3
    assert [row for row, _ in index.nearest(np.array([90.0, 0.9]), 2, without=[1])] == [0, 2]
