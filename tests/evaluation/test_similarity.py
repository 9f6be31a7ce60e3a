from __future__ import annotations

import numpy as np
import pytest

from medfuse.evaluation.feature_kernel import FeatureKernel
from medfuse.evaluation.similarity import linear_cka, similarities

RNG = np.random.default_rng(0)


def test_a_source_is_like_itself_whatever_the_scale() -> None:
    one = FeatureKernel.of(RNG.normal(size=(50, 6)))
    assert linear_cka(one, one) == pytest.approx(1)
    assert linear_cka(one, FeatureKernel(7 * one.products, 6)) == pytest.approx(1)


def test_unrelated_features_are_unlike_even_where_they_outnumber_the_cases() -> None:
    one, other = (FeatureKernel.of(RNG.normal(size=(60, 2000))) for _ in range(2))
    plain = (one.products * other.products).sum() / np.sqrt(
        (one.products**2).sum() * (other.products**2).sum()
    )
    assert plain > 0.9
    assert abs(linear_cka(one, other)) < 0.1


def test_similarity_of_many_narrow_cases_is_the_published_formula() -> None:
    shared = RNG.normal(size=(2000, 3))
    x = np.hstack([shared, RNG.normal(size=(2000, 2))])
    y = np.hstack([shared, RNG.normal(size=(2000, 4))])
    x, y = ((v - v.mean(0)) / v.std(0) for v in (x, y))
    expected = np.linalg.norm(y.T @ x) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    assert linear_cka(FeatureKernel.of(x), FeatureKernel.of(y)) == pytest.approx(expected, abs=5e-3)


def test_table_of_similarities_is_symmetric_with_ones() -> None:
    shared = RNG.normal(size=(40, 5))
    noise = (0.0, 0.5, 3.0)
    kernels = [FeatureKernel.of(shared + s * RNG.normal(size=(40, 5))) for s in noise]
    table = similarities(kernels)
    np.testing.assert_array_equal(table, table.T)
    np.testing.assert_array_equal(np.diag(table), 1)
    assert table[0, 1] > table[0, 2]
