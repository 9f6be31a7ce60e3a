"""The verdict claims a gain only where the tests carry it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medfuse.errors import EvaluationError
from medfuse.evaluation import EvaluationSettings, Predictions, compare

FEW = EvaluationSettings(bootstrap=300)


def _worse(p: Predictions, amount: float, seed: int) -> Predictions:
    noise = np.random.default_rng(seed).normal(size=p.probabilities.shape) * amount
    chances = np.exp(np.log(p.probabilities) + noise)
    return Predictions(p.labels, chances / chances.sum(1, keepdims=True), p.classes, p.patients)


@pytest.mark.parametrize("classes", [2, 4])
def test_a_clear_gain_is_claimed_with_numbers(sample, classes: int) -> None:
    fused = sample(300, classes, signal=3)
    result = compare(fused, {"A": _worse(fused, 2, 0), "B": _worse(fused, 4, 1)}, FEW)
    assert result["best_source"] == "A"
    assert result["verdict"].startswith("fusing A+B gains 0.")
    assert "(Holm, 2 comparisons)" in result["verdict"]
    json.dumps(result, allow_nan=False)


def test_a_loss_is_said_as_plainly(sample) -> None:
    good = sample(300, 3, signal=3)
    result = compare(_worse(good, 4, 0), {"A": good}, FEW)
    assert result["verdict"].startswith("fusing A loses 0.")


def test_no_difference_is_no_evidence(sample) -> None:
    fused = sample(100, 3)
    result = compare(fused, {"A": _worse(fused, 0.05, 0)}, FEW)
    assert result["verdict"].startswith("no evidence that fusing A helps: ")


def test_two_classes_use_delong_by_patient(sample) -> None:
    fused = sample(100, 2, per_patient=2)
    row = compare(fused, {"A": _worse(fused, 1, 0)}, FEW)["sources"][0]
    assert row["auroc"]["test"] == "DeLong, clustered by patient"
    assert row["mcnemar"]["reason"] == "some patients have several cases"


def test_more_classes_use_the_bootstrap_and_mcnemar(sample) -> None:
    fused = sample(100, 3)
    row = compare(fused, {"A": _worse(fused, 1, 0)}, FEW)["sources"][0]
    assert row["auroc"]["test"] == "bootstrap by patient"
    assert 0 <= row["mcnemar"]["p_mid"] <= 1


def test_p_values_are_corrected_for_their_number(sample) -> None:
    fused = sample(150, 3)
    singles = {name: _worse(fused, 1, seed) for seed, name in enumerate("ABC")}
    rows = compare(fused, singles, FEW)["sources"]
    assert all(row["p_adjusted"] >= row["p_value"] for row in rows)
    assert max(row["p_adjusted"] / row["p_value"] for row in rows) == pytest.approx(3)


def test_an_absent_class_leaves_nothing_to_compare(sample) -> None:
    fused = sample(60, 3)
    fused = fused.only(fused.labels != 0)
    result = compare(fused, {"A": _worse(fused, 1, 0)}, FEW)
    assert "cannot be compared" in result["verdict"]
    json.dumps(result, allow_nan=False)


def test_no_single_source_is_refused(sample) -> None:
    with pytest.raises(EvaluationError, match="no single source"):
        compare(sample(), {}, FEW)


def test_a_source_is_compared_on_the_cases_that_it_can_see(sample) -> None:
    fused = sample(200, 3, signal=3)
    seen = np.arange(200) < 80
    blind = np.where(seen[:, None], _worse(fused, 2, 0).probabilities, 1 / 3)
    partly = Predictions(fused.labels, blind, fused.classes, fused.patients)
    result = compare(fused, {"A": partly, "B": _worse(fused, 4, 1)}, FEW, {"A": seen})
    of_all = {row["source"]: row for row in result["sources"]}
    assert (of_all["A"]["cases"], of_all["B"]["cases"], result["cases"]) == (80, 200, 200)
    alone = compare(fused.only(seen), {"A": partly.only(seen), "B": partly.only(seen)}, FEW)
    assert of_all["A"]["auroc"] == alone["sources"][0]["auroc"]
    assert result["best_source"] == "A"
    assert "(A), on the 80 of 200 cases that it can see;" in result["verdict"]


def test_a_source_that_sees_few_cases_is_not_the_best_beside_one_that_sees_more(sample) -> None:
    fused = sample(200, 3, signal=3)
    few = np.arange(200) < 19
    singles = {"A": fused, "B": _worse(fused, 2, 1)}
    assert compare(fused, singles, FEW)["best_source"] == "A"
    assert compare(fused, singles, FEW, {"A": few})["best_source"] == "B"


def test_a_source_that_sees_no_case_is_said_and_not_measured(sample) -> None:
    fused = sample(100, 3)
    singles = {"A": fused, "B": _worse(fused, 1, 1)}
    result = compare(fused, singles, FEW, {"A": np.zeros(100, dtype=bool)})
    row = result["sources"][0]
    assert (row["cases"], row["auroc"]["second"], row["p_adjusted"]) == (0, None, None)
    assert result["best_source"] == "B"
    json.dumps(result, allow_nan=False)


def test_cases_of_one_class_that_a_source_sees_give_no_number(sample) -> None:
    fused = sample(100, 2)
    result = compare(fused, {"A": fused}, FEW, {"A": fused.labels == 1})
    assert result["sources"][0]["auroc"]["second"] is None
    assert result["verdict"] == "fusing A cannot be compared: too few cases of some class."
