from __future__ import annotations

import numpy as np
import pytest

from medfuse.pretraining.health import neighbor_accuracy, sample_of, spread

RANDOM = np.random.default_rng(0).standard_normal((400, 16))


def test_collapsed_features_have_no_spread_and_one_direction():
    direction = RANDOM[:1]
    collapsed = direction * (1 + 0.01 * RANDOM[:, :1])
    assert spread(np.abs(collapsed))["feature_std"] < 0.1
    assert spread(collapsed)["effective_rank"] == pytest.approx(1.0, abs=0.05)


def test_features_in_all_directions_have_full_spread_and_rank():
    found = spread(RANDOM)
    assert found["feature_std"] == pytest.approx(1.0, abs=0.05)
    assert found["effective_rank"] > 15


def test_neighbors_tell_clusters_apart_and_noise_by_chance():
    labels = np.arange(400) % 2
    apart = RANDOM + 10 * labels[:, None] - 5
    assert neighbor_accuracy(apart, labels) == 1.0
    assert 0.4 < neighbor_accuracy(RANDOM, labels) < 0.6


def test_a_sample_is_spread_over_the_pool():
    assert sample_of(range(1000), 3) == [0, 500, 999] or sample_of(range(1000), 3)[1] in (499, 500)
    assert sample_of(range(2), 512) == [0, 1]
