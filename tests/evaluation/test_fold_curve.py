"""Learning curves: nested draws, means over draws, and tests of the gain at each size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfuse.evaluation.candidates import Candidate
from medfuse.evaluation.fold_area import area_difference
from medfuse.evaluation.fold_curve import CurvePoint, fold_curve, nested_order

from .test_fold_comparison import candidates_of, cases_of


@given(st.integers(0, 500), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_first_cases_have_the_classes_in_proportion_and_whole_patients_in_a_row(
    seed: int, per_patient: int
) -> None:
    rng = np.random.default_rng(seed)
    of_patient = rng.permutation(np.repeat([0, 1], [20, 60]))
    groups = rng.permutation(np.repeat(np.arange(80) * 3, per_patient))
    labels = of_patient[groups // 3]
    order = nested_order(labels, groups, seed)
    assert sorted(order) == list(range(len(labels)))
    for size in (24, 48, 96):
        if size < len(labels):
            share = (labels[order[:size]] == 0).mean()
            assert share == pytest.approx(0.25, abs=2.5 * per_patient / size)
    seen = groups[order]
    changes = 1 + (seen[1:] != seen[:-1]).sum()
    assert changes == 80  # no patient is torn apart


def test_another_seed_draws_other_cases() -> None:
    labels, groups = np.arange(60) % 2, np.arange(60)
    first, second = (nested_order(labels, groups, seed)[:20] for seed in (0, 1))
    assert set(first) != set(second)
    np.testing.assert_array_equal(first, nested_order(labels, groups, 0)[:20])


def test_points_are_means_over_draws_and_gains_are_delongs_of_the_mean() -> None:
    rng = np.random.default_rng(0)
    cases = cases_of(rng)
    draws = [
        candidates_of(cases, rng, {"A": ("single", 0.5), "f": ("fusion", 1.0)}) for _ in range(2)
    ]
    points = [CurvePoint(name, 25, tuple(draw[i] for draw in draws)) for i, name in enumerate("Af")]
    found = fold_curve(cases, points, "f", "A", 0.95)
    areas = [[cases.scored(one).area for one in point.draws] for point in points]
    assert found["points"]["A"] == [
        {
            "cases": 25,
            "value": pytest.approx(np.mean([a.value for a in areas[0]])),
            "low": min(a.value for a in areas[0]),
            "high": max(a.value for a in areas[0]),
        }
    ]
    gain = found["gains"][0]
    singles = [area_difference(f, a, 0.95) for a, f in zip(*areas, strict=True)]
    assert gain["difference"] == pytest.approx(np.mean([one.difference for one in singles]))
    widest = max(one.high - one.low for one in singles)
    assert 0 < gain["high"] - gain["low"] < widest
    assert gain["p_adjusted"] == gain["p_value"]
    assert len(found["fits"]) == 2 * 2 * 5
    assert {fit["fold"] for fit in found["fits"]} == set(range(5))


def test_gain_of_one_draw_is_that_of_the_comparison() -> None:
    rng = np.random.default_rng(1)
    cases = cases_of(rng, classes=3)
    both = candidates_of(cases, rng, {"A": ("single", 0.5), "f": ("fusion", 1.0)})
    points = [CurvePoint(one.name, 40, (one,)) for one in both]
    gain = fold_curve(cases, points, "f", "A", 0.95)["gains"][0]
    known = area_difference(*(cases.scored(one).area for one in both[::-1]), 0.95)
    assert gain["p_value"] == pytest.approx(known.p_value)


def test_gain_over_a_source_that_sees_some_cases_is_on_these() -> None:
    rng = np.random.default_rng(2)
    cases = cases_of(rng)
    single, fused = candidates_of(cases, rng, {"A": ("single", 0.5), "f": ("fusion", 1.0)})
    seen = np.arange(300) % 2 == 0
    some = Candidate("A", "single", ("A",), single.probabilities, seen)
    points = [CurvePoint(one.name, 40, (one,)) for one in (some, fused)]
    gain = fold_curve(cases, points, "f", "A", 0.95)["gains"][0]
    known = area_difference(*(cases.scored(one, seen).area for one in (fused, some)), 0.95)
    assert gain["difference"] == pytest.approx(known.difference)
    assert gain["p_value"] == pytest.approx(known.p_value)
