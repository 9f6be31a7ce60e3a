"""Curves pass through scikit-learn's points, inside their bands."""

from __future__ import annotations

import json

import numpy as np
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from medfuse.evaluation import (
    EvaluationSettings,
    precision_recall_curves,
    roc_curves,
)
from medfuse.evaluation.curves import reliability_bins

FEW = EvaluationSettings(bootstrap=100)


def test_roc_points_are_scikit_learns(sample) -> None:
    p = sample(80, 2)
    curve = roc_curves(p, FEW)["class1"]
    fpr, tpr, _ = roc_curve(p.labels, p.probabilities[:, 1], drop_intermediate=False)
    np.testing.assert_allclose(curve["x"], fpr)
    np.testing.assert_allclose(curve["y"], tpr)


def test_precision_recall_points_are_scikit_learns(sample) -> None:
    p = sample(80, 3)
    curve = precision_recall_curves(p, FEW)["class2"]
    precision, recall, _ = precision_recall_curve(p.labels == 2, p.probabilities[:, 2])
    np.testing.assert_allclose(curve["x"][1:], recall[-2::-1])
    np.testing.assert_allclose(curve["y"][1:], precision[-2::-1])
    assert curve["base"] == (p.labels == 2).mean()


def test_the_band_encloses_the_curve_nearly_everywhere(sample) -> None:
    p = sample(200, 2)
    curve = roc_curves(p, FEW)["class1"]
    middle = np.interp(curve["grid"], curve["x"], curve["y"])
    inside = (np.array(curve["low"]) <= middle + 1e-9) & (middle <= np.array(curve["high"]) + 1e-9)
    assert inside.mean() > 0.9
    assert auc(curve["grid"], curve["low"]) < auc(curve["grid"], curve["high"])


def test_a_class_without_cases_has_no_curve(sample) -> None:
    p = sample(60, 3)
    part = p.only(p.labels != 0)
    assert set(roc_curves(part, FEW)) == {"class1", "class2"}


def test_reliability_bins_cover_all_cases_and_average_to_the_accuracy(sample) -> None:
    p = sample(100, 3)
    bins = reliability_bins(p, 10)
    assert sum(b["cases"] for b in bins) == 100
    accuracy = sum(b["cases"] * b["accuracy"] for b in bins) / 100
    assert np.isclose(accuracy, (p.labels == p.predicted).mean())
    assert all(b["low"] < b["confidence"] <= b["high"] for b in bins)


def test_curves_are_json(sample) -> None:
    json.dumps(roc_curves(sample(), FEW), allow_nan=False)
