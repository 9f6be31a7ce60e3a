"""The drifting source is the one that is named; nearer is no drift; against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, ks_2samp

from medfuse.evaluation.drift import LEVEL, label_shift, source_drift
from medfuse.evaluation.feature_distance import FeatureDistances
from medfuse.evaluation.feature_statistics import (
    FeatureCases,
    fit_distance,
    held_out_distances,
    with_limits,
)

RNG = np.random.default_rng
NAMES = ("first", "second", "third")
WIDTH, COUNT = 12, 200


def images(count: int, seed: int, moved: int | None = None, by: float = 1.5) -> list[np.ndarray]:
    """Features of three sources; one of them sees images of another scanner."""
    rng = RNG(seed)
    return [
        rng.normal(by if source == moved else 0.0, 1.0, (count, WIDTH))
        for source in range(len(NAMES))
    ]


@pytest.fixture(scope="module")
def known() -> FeatureDistances:
    cases = FeatureCases(images(COUNT, 0), RNG(1).integers(0, 2, COUNT))
    sources = [
        fit_distance(x, cases.labels, name) for name, x in zip(NAMES, cases.features, strict=True)
    ]
    limited = with_limits(sources, held_out_distances(cases), 0.95)
    return FeatureDistances(limited, {"held_out": COUNT})


def drift(known: FeatureDistances, features: list[np.ndarray], patients=()) -> dict:
    return source_drift(known, known(np.concatenate(features, axis=1)), patients)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2), st.integers(1, 10_000), st.sampled_from([1.0, -1.5, 3.0]))
def test_the_source_that_drifts_is_the_one_that_is_named(
    known: FeatureDistances, moved: int, seed: int, by: float
) -> None:
    found = drift(known, images(100, seed, moved, by))
    drifting = {row["source"]: row["drifts"] for row in found["sources"]}
    assert drifting[NAMES[moved]]
    assert f"{NAMES[moved]} drifts most" in found["verdict"]


def test_images_of_the_same_kind_rarely_drift(known: FeatureDistances) -> None:
    alarms = [
        any(row["drifts"] for row in drift(known, images(60, seed))["sources"])
        for seed in range(100, 200)
    ]
    assert np.mean(alarms) <= 0.12, "5 % expected of 100, three standard errors above"


def test_nearer_cases_are_no_drift(known: FeatureDistances) -> None:
    found = drift(known, [0.2 * x for x in images(100, 7)])
    assert not any(row["drifts"] for row in found["sources"])
    assert found["verdict"].startswith("no drift found: ")


def test_the_test_is_that_of_scipy(known: FeatureDistances) -> None:
    values = known(np.concatenate(images(80, 5, 1, 0.3), axis=1))
    found = source_drift(known, values)
    for row, source, column in zip(found["sources"], known.sources, values.T, strict=True):
        # the quantiles stand for the held-out cases themselves
        reference = np.interp((np.arange(COUNT) + 0.5) / COUNT, np.linspace(0, 1, 101),
                              source.quantiles)  # fmt: skip
        expected = ks_2samp(reference, column, alternative="greater", method="asymp")
        assert row["excess"] == pytest.approx(expected.statistic, abs=0.02)
        assert row["p_value"] == pytest.approx(expected.pvalue, abs=0.08)


def test_order_does_not_matter_and_copies_of_patients_prove_nothing(
    known: FeatureDistances,
) -> None:
    features = images(30, 3, 2, 0.5)
    once = drift(known, features)["sources"][2]
    turned = drift(known, [x[::-1] for x in features])["sources"][2]
    assert turned == pytest.approx(once)
    copied = [np.repeat(x, 5, axis=0) for x in features]
    patients = np.repeat(np.arange(30), 5)
    again = drift(known, copied, [str(p) for p in patients])["sources"][2]
    assert again["p_value"] >= once["p_value"] - 1e-12
    assert drift(known, copied)["sources"][2]["p_value"] < once["p_value"]


def test_p_values_are_corrected_for_the_sources(known: FeatureDistances) -> None:
    rows = drift(known, images(100, 3, 1))["sources"]
    smallest = min(rows, key=lambda row: row["p_value"])
    assert smallest["p_adjusted"] == pytest.approx(min(1, 3 * smallest["p_value"]))


def test_a_source_without_input_is_not_tested(known: FeatureDistances) -> None:
    values = known(np.concatenate(images(50, 3, 1), axis=1))
    values[:, 0] = np.nan
    found = source_drift(known, values)
    assert found["sources"][0]["p_value"] is None
    assert found["sources"][0]["drifts"] is False
    none = source_drift(known, np.full((4, 3), np.nan))
    assert "no source can be tested" in none["verdict"]


def test_label_shift_is_the_chi_squared_test() -> None:
    training, cohort = {"well": 80, "ill": 20, "rare": 0}, {"well": 30, "ill": 30}
    found = label_shift(training, cohort)
    expected = chi2_contingency([[80, 20], [30, 30]]).pvalue
    assert found["p_value"] == pytest.approx(expected)
    assert found["p_value"] < LEVEL
    assert found["distance"] == pytest.approx(0.3)
    assert found["cohort"] == {"well": 0.5, "ill": 0.5, "rare": 0.0}


def test_no_labels_no_shift() -> None:
    assert label_shift({"a": 3, "b": 4}, {})["p_value"] is None
    assert label_shift({"a": 3, "b": 0}, {"a": 5})["p_value"] == 1.0
