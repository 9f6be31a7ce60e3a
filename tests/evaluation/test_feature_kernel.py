from __future__ import annotations

import numpy as np
import pytest

from medfuse.errors import EvaluationError
from medfuse.evaluation.feature_kernel import FeatureKernel, Spectrum


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(30, 50)) * np.arange(1, 51) + 7


def test_kernel_holds_the_products_of_standardized_features(features: np.ndarray) -> None:
    standard = (features - features.mean(0)) / features.std(0)
    found = FeatureKernel.of(features)
    np.testing.assert_allclose(found.products, standard @ standard.T / 50, atol=1e-12)
    assert found.width == 50
    assert np.trace(found.products) == pytest.approx(30)


def test_scale_and_offset_of_a_feature_do_not_count(features: np.ndarray) -> None:
    other = features * np.linspace(0.1, 1e4, 50) - 3e3
    np.testing.assert_allclose(
        FeatureKernel.of(other).products, FeatureKernel.of(features).products, atol=1e-8
    )


def test_constant_features_are_left_out(features: np.ndarray) -> None:
    more = np.hstack([features, np.full((30, 4), 1e6)])
    assert FeatureKernel.of(more).width == 50


def test_kernel_of_some_cases_is_centered_on_them(features: np.ndarray) -> None:
    rows = np.array([3, 4, 9, 20, 21])
    standard = (features - features.mean(0)) / features.std(0)
    part = standard[rows] - standard[rows].mean(0)
    expected = part @ part.T
    found = FeatureKernel.of(features).only(rows)
    np.testing.assert_allclose(found.products, expected / np.trace(expected) * 5, atol=1e-12)


def test_joined_sources_weigh_the_same_whatever_their_width() -> None:
    rng = np.random.default_rng(1)
    one, other = (FeatureKernel.of(rng.normal(size=(20, width))) for width in (3, 300))
    joined = FeatureKernel.joined([one, other])
    np.testing.assert_allclose(joined.products, (one.products + other.products) / 2, atol=1e-12)
    assert joined.width == 303


def test_spectrum_rebuilds_the_kernel_and_leaves_zeros_out() -> None:
    wide = FeatureKernel.of(np.random.default_rng(2).normal(size=(12, 100)))
    narrow = FeatureKernel.of(np.random.default_rng(2).normal(size=(12, 4)))
    for kernel, rank in ((wide, 11), (narrow, 4)):
        spectrum = Spectrum.of(kernel)
        assert len(spectrum.values) == rank
        rebuilt = (spectrum.vectors * spectrum.values) @ spectrum.vectors.T
        np.testing.assert_allclose(rebuilt, kernel.products, atol=1e-10)


def test_features_that_do_not_vary_are_refused_by_name() -> None:
    with pytest.raises(EvaluationError, match=r"source x: gives the same features for all 5 cases"):
        FeatureKernel.of(np.full((5, 3), 0.1), "source x")


def test_features_that_are_not_finite_are_refused_by_name() -> None:
    with pytest.raises(EvaluationError, match=r"source x: features have shape \(5, 3\), expected"):
        FeatureKernel.of(np.full((5, 3), np.nan), "source x")
