"""Distances from the training cases: against scikit-learn, and what their limits promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf, ledoit_wolf_shrinkage

from medfuse.errors import EvaluationError
from medfuse.evaluation.feature_distance import FeatureDistances, load_distances
from medfuse.evaluation.feature_drift import feature_drift
from medfuse.evaluation.feature_statistics import (
    FeatureCases,
    fit_distance,
    held_out_distances,
    with_limits,
    write_distances,
)

RNG = np.random.default_rng


def cloud(count: int, width: int = 12, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    """Features that hang together, of one kind of image."""
    mixing = RNG(99).normal(size=(width, width)) / np.sqrt(width)
    return RNG(seed).normal(size=(count, width)) @ mixing + shift


def test_the_distance_is_that_of_scikit_learn_s_shrunk_covariance() -> None:
    x, labels = cloud(200), RNG(1).integers(0, 3, 200)
    means = np.stack([x[labels == k].mean(0) for k in range(3)])
    covariance, _ = ledoit_wolf(x - means[labels], assume_centered=True)
    inverse = np.linalg.inv(covariance)
    new = cloud(20, seed=5)
    expected = [min(mahalanobis(row, mean, inverse) for mean in means) for row in new]
    # every axis but one is kept, so what is left over is exact
    found = fit_distance(x, labels)(new)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_fewer_cases_than_features_give_a_finite_distance() -> None:
    found = fit_distance(cloud(30, width=400))
    assert found.axes.shape == (7, 400), "a quarter of the cases"
    assert np.isfinite(found(cloud(5, width=400, seed=2))).all()


def by_singular_vectors(x: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The same distance, from all singular vectors."""
    away = x - x.mean(0)
    (count, width), amount = x.shape, ledoit_wolf_shrinkage(away, assume_centered=True)
    _, singular, axes = np.linalg.svd(away, full_matrices=False)
    average, most = float((away**2).mean()), min(256, count // 4, width - 1)
    variances = (1 - amount) * singular[:most] ** 2 / count + amount * average
    rest = (average * width - variances.sum()) / (width - most)
    away, along = new - x.mean(0), (new - x.mean(0)) @ axes[:most].T
    squares = (along**2 / variances).sum(1) + ((away**2).sum(1) - (along**2).sum(1)) / rest
    return np.asarray(np.sqrt(squares))


@pytest.mark.parametrize("shape", [(90, 400), (400, 90)])
def test_the_axes_kept_are_those_that_all_singular_vectors_begin_with(
    shape: tuple[int, int],
) -> None:
    x, new = cloud(*shape), cloud(10, width=shape[1], seed=5)
    np.testing.assert_allclose(fit_distance(x)(new), by_singular_vectors(x, new), rtol=1e-5)


@pytest.mark.parametrize("width", [20, 200])
def test_cases_that_repeat_leave_every_axis_of_length_one_and_apart(width: int) -> None:
    x = np.repeat(cloud(3, width=width), 20, axis=0)  # they vary along two axes, and 15 are kept
    found = fit_distance(x)
    assert len(found.axes) == 15
    np.testing.assert_allclose(found.axes @ found.axes.T, np.eye(15), atol=1e-5)
    assert (found.variances[:2] > 100 * found.variances[2]).all()


def test_the_spread_that_is_not_kept_is_kept_in_sum() -> None:
    x = cloud(100, width=60)
    found = fit_distance(x)
    total = float(found.variances.sum()) + found.rest * (60 - len(found.axes))
    assert total == pytest.approx(((x - x.mean(0)) ** 2).sum() / 100, rel=1e-5)


def test_features_that_never_vary_are_no_error() -> None:
    x = np.ones((20, 4))
    found = fit_distance(x)
    assert found(x).max() < 1e-6
    assert found(np.zeros((1, 4)))[0] > 100


def test_one_case_tells_nothing_but_is_no_error() -> None:
    assert fit_distance(np.full((5, 3), np.nan)).width == 3
    assert fit_distance(np.zeros((1, 3)))(np.array([[3.0, 4.0, 0.0]])) == pytest.approx([5.0])


def test_order_of_the_cases_does_not_matter() -> None:
    x, labels, order = cloud(80), RNG(1).integers(0, 2, 80), RNG(2).permutation(80)
    new = cloud(10, seed=4)
    one, other = fit_distance(x, labels), fit_distance(x[order], labels[order])
    np.testing.assert_allclose(one(new), other(new), rtol=1e-4)


def test_no_row_of_the_training_cases_is_kept() -> None:
    x = cloud(200, width=8).astype(np.float32)
    found = fit_distance(x, RNG(0).integers(0, 2, 200))
    kept = np.concatenate([found.means, found.axes])
    assert np.abs(kept[:, None] - x[None]).max(-1).min() > 1e-3


def cases_of(count: int, sources: int = 2, per_patient: int = 2, seed: int = 0) -> FeatureCases:
    patients = np.arange(count) // per_patient
    each = [cloud(count, seed=seed + s) for s in range(sources)]
    each = [x + cloud(count, seed=50 + seed + s)[patients] for s, x in enumerate(each)]
    return FeatureCases(each, RNG(seed).integers(0, 2, count), list(patients))


@pytest.mark.slow
@pytest.mark.parametrize("sources", [1, 4])
def test_all_sources_together_accept_the_share_that_was_asked_for(sources: int) -> None:
    accepted = []
    for seed in range(60):
        cases = cases_of(300, sources, seed=1000 * seed)
        fitted = [fit_distance(x, cases.labels) for x in cases.features]
        limited = with_limits(fitted, held_out_distances(cases), 0.9, cases.patients)
        new = cases_of(200, sources, seed=1000 * seed + 500)
        distances = np.stack([s(x) for s, x in zip(limited, new.features, strict=True)], axis=1)
        accepted.append((distances <= [s.limit for s in limited]).all(1).mean())
    # a fifth fewer cases make the held-out distances a little larger: never fewer are accepted
    assert 0.89 < np.mean(accepted) < 0.94


def test_a_patient_is_never_compared_with_its_own_cases() -> None:
    cases = cases_of(60, per_patient=3)
    strange = [x.copy() for x in cases.features]
    strange[0][:3] += 40.0  # one patient, three cases far away and near each other
    found = held_out_distances(FeatureCases(strange, None, cases.patients))
    apart = held_out_distances(FeatureCases(strange, None, list(range(60))))
    assert found[:3, 0].min() > 3 * found[3:, 0].max()
    assert apart[:3, 0].min() < found[:3, 0].min(), "leaking would make them look familiar"


def test_a_missing_input_is_no_distance_and_no_vote() -> None:
    cases = cases_of(120)
    cases.features[1][::3] = np.nan
    fitted = [fit_distance(x, cases.labels) for x in cases.features]
    found = held_out_distances(cases)
    limited = with_limits(fitted, found, 0.9, cases.patients)
    assert np.isnan(found[::3, 1]).all()
    assert not np.isnan(found[:, 0]).any()
    assert all(np.isfinite(source.limit) for source in limited)
    known = FeatureDistances(limited, {})
    both = known(np.concatenate([cloud(3), cloud(3)], axis=1), np.array([[1, 0]] * 3) > 0)
    assert np.isnan(both[:, 1]).all()


def test_too_few_held_out_cases_give_no_limit() -> None:
    cases = cases_of(18, per_patient=1)
    fitted = [fit_distance(x) for x in cases.features]
    limited = with_limits(fitted, held_out_distances(cases), 0.95, cases.patients)
    assert [source.limit for source in limited] == [np.inf, np.inf]


def test_a_source_that_gives_every_case_the_same_features_calls_nothing_strange() -> None:
    cases = FeatureCases([cloud(60), np.zeros((60, 4))], None, [str(i) for i in range(60)])
    fitted = [fit_distance(x) for x in cases.features]
    alive, dead = with_limits(fitted, held_out_distances(cases), 0.95, cases.patients)
    assert np.isinf(dead.limit)
    assert np.isfinite(alive.limit)


def test_a_single_patient_cannot_be_held_out() -> None:
    with pytest.raises(EvaluationError, match="1 patients, expected at least 2"):
        held_out_distances(FeatureCases([cloud(4)], None, ["a"] * 4))


def test_the_file_gives_the_same_distances_back(tmp_path: Path) -> None:
    cases = cases_of(60)
    fitted = [fit_distance(x, cases.labels, f"s{i}") for i, x in enumerate(cases.features)]
    limited = with_limits(fitted, held_out_distances(cases), 0.9, cases.patients)
    endless = replace(limited[1], limit=np.inf, position=1)
    known = FeatureDistances((limited[0], endless), {"acceptance": 0.9})
    write_distances(known, tmp_path / "d.safetensors")
    again = load_distances(tmp_path / "d.safetensors")
    new = np.concatenate([cloud(5, seed=7), cloud(5, seed=8)], axis=1)
    np.testing.assert_array_equal(again(new), known(new))
    np.testing.assert_array_equal(again.limits, known.limits)
    assert again.labels == ("s0", "s1")
    assert (again.sources[1].position, dict(again.facts)) == (1, {"acceptance": 0.9})


def test_features_of_another_network_are_refused(tmp_path: Path) -> None:
    known = FeatureDistances((fit_distance(cloud(20)),), {})
    with pytest.raises(ValueError, match=r"shape \(2, 5\), expected \(N, 12\)"):
        known(np.zeros((2, 5)))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors: version None .* expected 1"):
        load_distances(tmp_path / "other.safetensors")


def test_what_lies_in_the_file_is_statistics(tmp_path: Path) -> None:
    cases = cases_of(200)
    fitted = [fit_distance(x, cases.labels) for x in cases.features]
    write_distances(FeatureDistances(tuple(fitted), {}), tmp_path / "d.safetensors")
    shapes = {name: array.shape for name, array in load_file(tmp_path / "d.safetensors").items()}
    assert shapes["0.means"] == (2, 12)
    assert shapes["0.quantiles"] == (101,)
    assert all(200 not in shape for shape in shapes.values()), "nothing has a row per case"


def test_drift_names_the_source_that_drifts() -> None:
    cases = cases_of(300)
    fitted = [fit_distance(x, cases.labels, f"s{i}") for i, x in enumerate(cases.features)]
    limited = with_limits(fitted, held_out_distances(cases), 0.95, cases.patients)
    known = FeatureDistances(limited, {})
    same, shifted = cases_of(300, seed=500), cases_of(300, seed=900)
    found = [
        np.stack([s(x) for s, x in zip(limited, parts, strict=True)], axis=1)
        for parts in (same.features, [shifted.features[0], shifted.features[1] + 3.0])
    ]
    (first, second), (unmoved, moved) = (feature_drift(known, x) for x in found)
    assert 0.4 < first["farther"] < 0.6
    assert 0.4 < second["farther"] < 0.6
    assert 0.4 < unmoved["farther"] < 0.6
    assert moved["farther"] > 0.95
    assert moved["beyond"] > 0.8
    assert unmoved["beyond"] < 0.1
    assert moved["largest_gap"] > 0.8
    assert moved["median"] > moved["expected_median"]
    assert (moved["source"], moved["cases"]) == ("s1", 300)


def test_the_largest_gap_is_that_of_kolmogorov_and_smirnov() -> None:
    from scipy.stats import ks_2samp

    reference, values = RNG(0).gamma(5, size=4000), RNG(1).gamma(6, size=300)
    source = replace(
        fit_distance(cloud(20)), quantiles=np.quantile(reference, np.linspace(0, 1, 101))
    )
    (row,) = feature_drift(FeatureDistances((source,), {}), values[:, None])
    assert row["largest_gap"] == pytest.approx(ks_2samp(values, reference).statistic, abs=0.01)


def test_drift_of_a_source_that_no_case_has() -> None:
    known = FeatureDistances((fit_distance(cloud(20)),), {})
    (row,) = feature_drift(known, np.full((3, 1), np.nan))
    assert (row["cases"], row["median"]) == (0, None)
