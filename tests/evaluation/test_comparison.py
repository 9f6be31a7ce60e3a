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
