"""Metrics equal scikit-learn's, intervals go by patient, undefined ones say why."""

from __future__ import annotations

import json
import math
import time
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from medfuse.errors import EvaluationError
from medfuse.evaluation import EvaluationSettings, Predictions, evaluate

NONE = EvaluationSettings(bootstrap=0)
FEW = EvaluationSettings(bootstrap=50)


def _value(entry: dict) -> float:
    return entry["value"]


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_overall_metrics_equal_scikit_learn(sample, classes: int) -> None:
    p = sample(200, classes)
    result, rows = evaluate(p, NONE)["overall"], p.probabilities
    score = rows[:, 1] if classes == 2 else rows
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        p.labels, p.predicted, average="macro"
    )
    expected = {
        "accuracy": sk.accuracy_score(p.labels, p.predicted),
        "balanced_accuracy": sk.balanced_accuracy_score(p.labels, p.predicted),
        "auroc_macro": sk.roc_auc_score(p.labels, score, multi_class="ovr"),
        "precision_macro": precision,
        "recall_macro": recall,
        "f1_macro": f1,
        "brier": sk.brier_score_loss(p.labels, score)
        if classes == 2
        else ((rows - np.eye(classes)[p.labels]) ** 2).sum(1).mean(),
        "log_loss": sk.log_loss(p.labels, rows),
        "auprc_macro": sk.average_precision_score(np.eye(classes)[p.labels], rows),
    }
    assert {name: _value(result[name]) for name in expected} == pytest.approx(expected)


def test_per_class_metrics_equal_scikit_learn(sample) -> None:
    p = sample(200, 4)
    result = evaluate(p, NONE)["per_class"]
    precision, recall, f1, support = sk.precision_recall_fscore_support(p.labels, p.predicted)
    for k, name in enumerate(p.classes):
        one_vs_rest = (p.labels == k, p.probabilities[:, k])
        assert result[name]["support"] == support[k]
        assert _value(result[name]["precision"]) == pytest.approx(precision[k])
        assert _value(result[name]["recall"]) == pytest.approx(recall[k])
        assert _value(result[name]["f1"]) == pytest.approx(f1[k])
        assert _value(result[name]["auroc"]) == pytest.approx(sk.roc_auc_score(*one_vs_rest))
        assert _value(result[name]["specificity"]) == pytest.approx(
            sk.recall_score(p.labels != k, p.predicted != k)
        )


def test_flagging_at_the_threshold_gives_the_sensitivity_it_stands_for(sample) -> None:
    p = sample(300, 2)
    entry = evaluate(p, NONE)["per_class"]["class1"]["sensitivity_at_specificity_0.90"]
    flagged = p.probabilities[:, 1] >= entry["threshold"]
    assert flagged[p.labels == 1].mean() == pytest.approx(entry["value"])
    assert (~flagged[p.labels == 0]).mean() >= 0.90


def test_confusion_matrix_has_true_classes_in_rows(sample) -> None:
    p = sample(100, 3)
    assert evaluate(p, NONE)["confusion_matrix"] == (
        sk.confusion_matrix(p.labels, p.predicted).tolist()
    )


def test_calibration_error_by_hand() -> None:
    chances = np.array([[0.9, 0.1], [0.9, 0.1], [0.35, 0.65], [0.25, 0.75]])
    p = Predictions(np.array([0, 1, 1, 1]), chances, ["a", "b"])
    # Bins of width 0.2: two cases at 0.9 (half right), two at 0.65 and 0.75 (all right).
    settings = EvaluationSettings(bootstrap=0, bins=5)
    assert evaluate(p, settings)["overall"]["ece"]["value"] == pytest.approx(
        0.5 * abs(0.5 - 0.9) + 0.5 * abs(1 - 0.7)
    )


def test_the_last_of_two_classes_is_the_positive_one(sample) -> None:
    assert evaluate(sample(60, 2), NONE)["positive_class"] == "class1"
    assert evaluate(sample(60, 3), NONE)["positive_class"] is None


@pytest.mark.slow
def test_accuracy_interval_is_the_percentile_of_resampled_patients(sample) -> None:
    p = sample(90, 3, per_patient=3)
    entry = evaluate(p, EvaluationSettings(bootstrap=4000))["overall"]["accuracy"]
    right = (p.labels == p.predicted).reshape(30, 3).mean(1)
    rng = np.random.default_rng(123)
    means = right[rng.integers(0, 30, (20_000, 30))].mean(1)
    assert [entry["low"], entry["high"]] == pytest.approx(
        np.quantile(means, [0.025, 0.975]), abs=0.02
    )


def test_copies_of_a_patients_image_do_not_narrow_the_interval(sample) -> None:
    p = sample(60, 2)
    settings = EvaluationSettings(bootstrap=300)
    once = evaluate(p, settings)["overall"]["auroc_macro"]
    ids = np.repeat(np.arange(60), 5)
    copied = Predictions(
        p.labels[ids], p.probabilities[ids], p.classes, [str(i).zfill(3) for i in ids]
    )
    assert evaluate(copied, settings)["overall"]["auroc_macro"] == pytest.approx(once)


def test_the_same_seed_gives_the_same_intervals(sample) -> None:
    assert evaluate(sample(), FEW) == evaluate(sample(), FEW)


@pytest.mark.slow
@pytest.mark.long
def test_auroc_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth, hits, trials = 0.7602, 0, 300  # Phi(1 / sqrt(2)) for a shift of one standard deviation
    for _ in range(trials):
        labels = np.arange(120) % 2
        score = 1 / (1 + np.exp(-(rng.normal(size=120) + labels)))
        p = Predictions(labels, np.c_[1 - score, score], ["a", "b"])
        entry = evaluate(p, EvaluationSettings(bootstrap=300))["overall"]["auroc_macro"]
        hits += entry["low"] <= truth <= entry["high"]
    assert 0.90 <= hits / trials <= 0.985


def test_metrics_of_an_absent_class_are_null_with_the_reason(sample) -> None:
    p = sample(60, 3)
    kept = p.labels != 1
    result = evaluate(p.only(kept), FEW)
    assert result["per_class"]["class1"]["auroc"] == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "no case of class 'class1'",
    }
    assert result["overall"]["auroc_macro"]["reason"] == "no case of class 'class1'"
    assert result["overall"]["accuracy"]["value"] is not None
    json.dumps(result, allow_nan=False)


def test_precision_of_a_class_that_is_never_predicted_is_null_not_zero() -> None:
    chances = np.tile([0.8, 0.15, 0.05], (6, 1))
    p = Predictions(np.array([0, 1, 2, 0, 1, 2]), chances, ["a", "b", "c"])
    result = evaluate(p, FEW)["per_class"]["b"]
    assert result["precision"]["value"] is None
    assert result["precision"]["reason"] == "class 'b' is never predicted"
    assert result["recall"]["value"] == 0
    assert result["f1"]["value"] == 0


def test_one_case_gives_json_without_nan() -> None:
    result = evaluate(Predictions(np.array([0]), np.array([[0.7, 0.3]]), ["a", "b"]), FEW)
    json.dumps(result, allow_nan=False)
    assert result["overall"]["auroc_macro"]["value"] is None


def test_resamples_that_lack_a_class_are_counted_out() -> None:
    labels = np.array([0] * 20 + [1] * 2)
    chances = np.c_[np.linspace(0.9, 0.1, 22), np.linspace(0.1, 0.9, 22)]
    entry = evaluate(Predictions(labels, chances, ["a", "b"]), EvaluationSettings(bootstrap=200))
    assert 100 < entry["overall"]["auroc_macro"]["resamples"] < 200


def test_an_interval_without_width_says_that_it_shows_nothing() -> None:
    p = Predictions(np.array([0, 1] * 5), np.array([[0.9, 0.1], [0.1, 0.9]] * 5), ["a", "b"])
    entry = evaluate(p, FEW)["overall"]["accuracy"]
    assert (entry["low"], entry["high"]) == (1, 1)
    assert "too few cases" in entry["note"]


def test_groups_are_measured_alone_and_small_ones_are_only_counted(sample) -> None:
    p = sample(100, 2)
    sites = np.array(["north"] * 70 + ["south"] * 25 + ["tiny"] * 5)
    grouped = Predictions(p.labels, p.probabilities, p.classes, groups={"site": sites})
    result = evaluate(grouped, FEW)["groups"]["site"]
    alone = evaluate(grouped.only(sites == "south"), FEW)
    assert result["south"]["overall"] == alone["overall"]
    assert result["tiny"]["overall"] is None
    assert result["tiny"]["reason"] == "5 cases, at least 10 needed"
    assert sum(group["cases"] for group in result.values()) == 100


def test_plugin_metrics_join_with_an_interval(sample) -> None:
    p = sample(80, 3)
    accuracy = lambda labels, chances: (labels == chances.argmax(1)).mean()  # noqa: E731
    overall = evaluate(p, FEW, {"my_accuracy": accuracy})["overall"]
    assert overall["my_accuracy"] == pytest.approx(overall["accuracy"])


def test_a_plugin_metric_that_refuses_is_null_with_its_words(sample) -> None:
    def refuse(labels: np.ndarray, chances: np.ndarray) -> float:
        raise ValueError("needs ordinal classes")

    entry = evaluate(sample(), FEW, {"mine": refuse})["overall"]["mine"]
    assert entry["value"] is None
    assert "needs ordinal classes" in entry["reason"]


def test_a_plugin_metric_warns_once_at_most(sample) -> None:
    def noisy(labels: np.ndarray, chances: np.ndarray) -> float:
        warnings.warn("one class", stacklevel=2)
        return math.nan

    with pytest.warns(UserWarning, match="one class") as caught:
        evaluate(sample(), FEW, {"mine": noisy})
    assert len(caught) == 1


def test_a_plugin_metric_cannot_take_a_built_in_name(sample) -> None:
    with pytest.raises(EvaluationError, match=r"metric 'ece' of a plugin has the name"):
        evaluate(sample(), FEW, {"ece": lambda *_: 0.0})


@pytest.mark.slow
def test_a_thousand_resamples_of_600_cases_take_less_than_five_seconds(sample) -> None:
    p = sample(600, 4, per_patient=2)
    start = time.process_time()
    evaluate(p)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("labels", "chances", "message"),
    [
        ([0, 3], [[0.5, 0.5], [0.5, 0.5]], r"labels run from 0 to 3, expected 0 to 1"),
        ([0, -1], [[0.5, 0.5], [0.5, 0.5]], r"labels run from -1 to 0"),
        ([0.0, 1.0], [[0.5, 0.5], [0.5, 0.5]], r"labels are float64"),
        ([0], [[0.5, 0.5], [0.5, 0.5]], r"labels has 1 values, expected 2"),
        ([0, 1], [[0.5, 0.5], [np.nan, 0.5]], r"row 1 holds \[nan, 0.5\].*Did training diverge"),
        ([0, 1], [[0.5, 0.5], [2.0, 3.0]], r"probabilities that sum to 1"),
        ([0, 1], [[1.0], [1.0]], r"shape \(2, 1\), expected \(cases, 2\)"),
        ([], np.empty((0, 2)), r"no labeled case"),
    ],
)
def test_unusable_predictions_are_refused(labels, chances, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        Predictions(np.asarray(labels), np.asarray(chances), ["a", "b"])


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(EvaluationError, match="confidence between 0 and 1"):
        EvaluationSettings(confidence=95)
    with pytest.raises(EvaluationError, match="operating_points"):
        EvaluationSettings(operating_points=(95.0,))
