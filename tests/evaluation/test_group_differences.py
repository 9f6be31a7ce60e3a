"""Differences between groups: found where they are, not where they are not, and corrected."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import accuracy_score, roc_auc_score

from medfuse.evaluation import EvaluationSettings, Predictions
from medfuse.evaluation.group_differences import group_differences
from medfuse.evaluation.paired import holm

SETTINGS = EvaluationSettings(bootstrap=400)


def cases(gap: float, seed: int = 0, count: int = 240, per_patient: int = 1) -> Predictions:
    """Two classes; the scores of group b are worse by ``gap``."""
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(count // per_patient), per_patient)
    labels = rng.integers(0, 2, count // per_patient)[patients]
    groups = np.where(patients % 2, "b", "a")
    effect = 2.0 - gap * (groups == "b")
    score = 1 / (
        1 + np.exp(-(labels - 0.5) * effect - rng.normal(size=patients.max() + 1)[patients])
    )
    return Predictions(
        labels, np.stack([1 - score, score], 1), ("well", "ill"), tuple(patients), {"group": groups}
    )


def test_values_are_those_of_scikit_learn() -> None:
    found = cases(1.0)
    rows = {row["metric"]: row for row in group_differences(found, SETTINGS)["rows"]}
    for name, chosen in (("value", True), ("rest", False)):
        part = (np.asarray(found.groups["group"]) == "a") == chosen
        labels, scores = found.labels[part], found.probabilities[part]
        assert rows["auroc_macro"][name] == pytest.approx(roc_auc_score(labels, scores[:, 1]))
        assert rows["accuracy"][name] == pytest.approx(accuracy_score(labels, scores.argmax(1)))


def test_the_p_value_agrees_with_the_test_of_two_proportions() -> None:
    found = cases(0.8, seed=3, count=600)
    row = next(r for r in group_differences(found, SETTINGS)["rows"] if r["metric"] == "accuracy")
    first, second = row["value"], row["rest"]
    error = np.sqrt(first * (1 - first) / row["cases"] + second * (1 - second) / row["others"])
    expected = 2 * norm.sf(abs(first - second) / error)
    assert row["p_value"] == pytest.approx(expected, abs=0.03)
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_a_group_that_is_served_worse_is_found() -> None:
    rows = group_differences(cases(2.0), SETTINGS)["rows"]
    assert [row["group"] for row in rows] == ["a", "a"], "of two groups one is compared"
    assert all(row["difference"] > 0 and row["p_adjusted"] < 0.05 for row in rows)


@pytest.mark.slow
@pytest.mark.long
def test_equal_groups_are_rarely_called_different() -> None:
    quick = EvaluationSettings(bootstrap=200)
    small = [
        row["p_value"] < 0.05
        for seed in range(60)
        for row in group_differences(cases(0, seed, 120, per_patient=2), quick)["rows"]
        if row["metric"] == "accuracy"
    ]
    assert np.mean(small) < 0.15, "60 cohorts, 5 % expected, 15 % is three standard errors above"


@pytest.mark.slow
def test_p_values_are_corrected_for_all_tests() -> None:
    found = cases(0.5)
    thirds = [f"site {i % 3}" for i in range(len(found))]
    both = Predictions(
        found.labels, found.probabilities, found.classes, found.patients,
        {**found.groups, "site": thirds},
    )  # fmt: skip
    report = group_differences(both, SETTINGS)
    assert report["tests"] == len(report["rows"]) == 8
    assert [row["p_adjusted"] for row in report["rows"]] == holm(
        [row["p_value"] for row in report["rows"]]
    )


def test_small_groups_are_not_compared_and_bands_keep_their_order() -> None:
    found = cases(0.5, count=100)
    ages = ["65 and above"] * 5 + ["below 40"] * 45 + ["40 to below 65"] * 50
    banded = Predictions(
        found.labels, found.probabilities, found.classes, found.patients, {"age": ages}
    )
    order = {"age": ("below 40", "40 to below 65", "65 and above")}
    rows = group_differences(banded, EvaluationSettings(bootstrap=50, order=order))["rows"]
    assert list(dict.fromkeys(row["group"] for row in rows)) == ["below 40", "40 to below 65"]


def test_the_order_of_the_cases_does_not_matter() -> None:
    found = cases(0.5, count=60)
    back = slice(None, None, -1)
    turned = Predictions(
        found.labels[back], found.probabilities[back], found.classes, found.patients[back],
        {"group": found.groups["group"][back]},
    )  # fmt: skip
    mine, other = (group_differences(p, SETTINGS)["rows"] for p in (found, turned))
    assert [row["difference"] for row in mine] == pytest.approx([r["difference"] for r in other])
