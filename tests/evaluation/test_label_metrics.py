"""Several labels per case against scikit-learn, with unknown answers left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as oracle

from medfuse.errors import EvaluationError
from medfuse.evaluation import (
    EvaluationSettings,
    LabelPredictions,
    choose_thresholds,
    compare,
    evaluate_labels,
)

_NAMES = ("effusion", "edema", "mass")
_LIMITS = (0.4, 0.5, 0.7)


def _drawn(count: int = 120, seed: int = 0, sharp: float = 1.5) -> LabelPredictions:
    random = np.random.default_rng(seed)
    labels = (random.random((count, 3)) < (0.4, 0.2, 0.6)).astype(np.int64)
    odds = sharp * (2 * labels - 1) + random.normal(0, 2, labels.shape)
    labels[random.random(labels.shape) < 0.15] = -1
    labels[(labels == -1).all(1)] = 0
    chances = 1 / (1 + np.exp(-odds))
    patients = [f"p{i // 2}" for i in range(count)]
    return LabelPredictions(labels, chances, _NAMES, patients, thresholds=_LIMITS)


def _known(p: LabelPredictions, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = p.labels[:, index] >= 0
    chance = p.probabilities[rows, index]
    return p.labels[rows, index], chance, chance >= _LIMITS[index]


def test_thresholds_of_each_case_are_those_of_one_model_where_they_are_alike() -> None:
    given, settings = _drawn(), EvaluationSettings(bootstrap=20)
    each = replace(given, thresholds=np.tile(_LIMITS, (len(given), 1)))
    one, other = evaluate_labels(given, settings), evaluate_labels(each, settings)
    assert other["overall"] == one["overall"]
    assert other["per_class"]["mass"].pop("threshold")["value"] is None
    one["per_class"]["mass"].pop("threshold")
    assert other["per_class"]["mass"] == one["per_class"]["mass"]
    rows = np.arange(len(given)) % 3 == 0
    np.testing.assert_array_equal(each.only(rows).predicted, each.predicted[rows])
    with pytest.raises(EvaluationError, match=r"thresholds has shape \(2, 3\), expected 3: one"):
        replace(given, thresholds=np.full((2, 3), 0.5))


def test_every_metric_of_a_label_is_that_of_scikit_learn_on_its_known_cases() -> None:
    given = _drawn()
    found = evaluate_labels(given, EvaluationSettings(bootstrap=0))
    for index, name in enumerate(_NAMES):
        truth, chance, said = _known(given, index)
        expected = {
            "auroc": oracle.roc_auc_score(truth, chance),
            "auprc": oracle.average_precision_score(truth, chance),
            "f1": oracle.f1_score(truth, said),
            "precision": oracle.precision_score(truth, said),
            "recall": oracle.recall_score(truth, said),
            "specificity": oracle.recall_score(truth, said, pos_label=0),
            "brier": oracle.brier_score_loss(truth, chance),
        }
        got = {key: found["per_class"][name][key]["value"] for key in expected}
        assert got == pytest.approx(expected)
        table = oracle.confusion_matrix(truth, said)
        counts = found["per_class"][name]["counts"]
        assert [[counts["true_negative"], counts["false_positive"]],
                [counts["false_negative"], counts["true_positive"]]] == table.tolist()  # fmt: skip
        assert found["per_class"][name]["threshold"]["value"] == _LIMITS[index]


def test_metrics_of_all_labels_are_those_of_scikit_learn_where_all_is_known() -> None:
    part = _drawn()
    given = part.only((part.labels >= 0).all(1))
    found = evaluate_labels(given, EvaluationSettings(bootstrap=0))["overall"]
    truth, said = given.labels, given.probabilities >= np.array(_LIMITS)
    expected = {
        "auroc_macro": oracle.roc_auc_score(truth, given.probabilities, average="macro"),
        "auprc_macro": oracle.average_precision_score(truth, given.probabilities),
        "f1_macro": oracle.f1_score(truth, said, average="macro"),
        "f1_micro": oracle.f1_score(truth, said, average="micro"),
        "precision_micro": oracle.precision_score(truth, said, average="micro"),
        "recall_macro": oracle.recall_score(truth, said, average="macro"),
        "exact_match": oracle.accuracy_score(truth, said),
        "hamming_loss": oracle.hamming_loss(truth, said),
    }
    assert {key: found[key]["value"] for key in expected} == pytest.approx(expected)


def test_an_unknown_answer_changes_no_number() -> None:
    given = _drawn()
    other = given.probabilities.copy()
    other[given.labels < 0] = 1 - other[given.labels < 0]
    changed = LabelPredictions(
        given.labels, other, _NAMES, given.patients, thresholds=given.thresholds
    )
    settings = EvaluationSettings(bootstrap=20)
    assert evaluate_labels(given, settings) == evaluate_labels(changed, settings)


def test_groups_stand_in_the_order_that_was_asked_for() -> None:
    bands = ["65 and over" if i % 2 else "below 9" for i in range(120)]
    given = replace(_drawn(), groups={"age": bands})
    order = {"age": ("below 9", "65 and over")}
    found = evaluate_labels(given, EvaluationSettings(bootstrap=0, order=order))
    assert list(found["groups"]["age"]) == ["below 9", "65 and over"]
    own = given.only(np.array(bands) == "below 9")
    alone = evaluate_labels(own, EvaluationSettings(bootstrap=0))["overall"]
    assert found["groups"]["age"]["below 9"]["overall"] == alone


def test_calibration_error_is_the_mean_gap_of_the_bins() -> None:
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    chances = np.array([[0.9, 0.5], [0.9, 0.5], [0.2, 0.5], [0.2, 0.5]])
    found = evaluate_labels(
        LabelPredictions(labels, chances, ("a", "b")), EvaluationSettings(bootstrap=0, bins=10)
    )
    assert found["per_class"]["a"]["ece"]["value"] == pytest.approx((0.4 + 0.3) / 2)
    assert found["per_class"]["b"]["ece"]["value"] == pytest.approx(0.0)
    assert [(b["cases"], b["accuracy"]) for b in found["reliability"]] == [
        (2, 0.5),
        (4, 0.5),
        (2, 0.5),
    ]


def test_a_label_with_one_answer_is_undefined_and_left_out_of_the_mean() -> None:
    given = _drawn()
    labels = given.labels.copy()
    labels[:, 2] = np.where(labels[:, 2] == 1, -1, labels[:, 2])
    labels[(labels == -1).all(1), 0] = 0
    found = evaluate_labels(
        LabelPredictions(labels, given.probabilities, _NAMES), EvaluationSettings(bootstrap=0)
    )
    assert found["per_class"]["mass"]["auroc"]["value"] is None
    assert found["per_class"]["mass"]["auroc"]["reason"] == "no case has the label"
    two = [found["per_class"][name]["auroc"]["value"] for name in _NAMES[:2]]
    assert found["overall"]["auroc_macro"]["value"] == pytest.approx(np.mean(two))
    assert "without 1 label lacking" in found["overall"]["auroc_macro"]["note"]


def test_intervals_resample_whole_patients() -> None:
    given = _drawn()
    twice = LabelPredictions(
        np.repeat(given.labels, 2, axis=0),
        np.repeat(given.probabilities, 2, axis=0),
        _NAMES,
        [p for p in given.patients for _ in range(2)],
        thresholds=_LIMITS,
    )
    settings = EvaluationSettings(bootstrap=200)
    one, two = (evaluate_labels(p, settings)["overall"]["auroc_macro"] for p in (given, twice))
    assert two == pytest.approx(one)


def test_thresholds_maximize_sensitivity_plus_specificity_on_the_held_out_cases() -> None:
    given = _drawn()
    chosen = choose_thresholds(given.labels, given.probabilities, "held-out folds")
    for index, threshold in enumerate(chosen):
        truth, chance, _ = _known(given, index)
        false, true, _ = oracle.roc_curve(truth, chance)
        said = chance >= threshold.value
        youden = said[truth == 1].mean() - said[truth == 0].mean()
        assert youden == pytest.approx((true - false).max())
        assert threshold.chosen_on == "held-out folds"


def test_a_label_with_few_cases_keeps_one_half() -> None:
    labels = np.zeros((40, 1), dtype=np.int64)
    labels[:9] = 1
    chosen = choose_thresholds(labels, np.linspace(1, 0, 40)[:, None], "held-out folds")[0]
    assert (chosen.value, chosen.chosen_on) == (0.5, "")


def test_a_better_model_of_labels_is_found_to_be_better() -> None:
    sharp, blunt = _drawn(sharp=2.0), _drawn(sharp=0.2)
    found = compare(sharp, {"a": blunt, "b": blunt}, EvaluationSettings(bootstrap=200))
    assert found["verdict"].startswith("fusing a+b gains")
    assert found["agreement"] == "exact match"
    assert found["sources"][0]["mcnemar"]["reason"] == "cases have several labels"
    gap = found["sources"][0]["auroc"]
    areas = [
        evaluate_labels(p, EvaluationSettings(bootstrap=0))["overall"]["auroc_macro"]["value"]
        for p in (sharp, blunt)
    ]
    assert [gap["first"], gap["second"]] == pytest.approx(areas)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": np.full((2, 2), 1.2)}, "expected probabilities between 0 and 1"),
        ({"labels": np.array([[2, 0], [0, 1]])}, "something else than 1, 0 and -1"),
        ({"labels": np.array([[-1, -1], [0, 1]])}, "a case of which nothing is known"),
        ({"labels": np.zeros((3, 2), int)}, "expected \\(cases, 2\\) for both"),
        ({"thresholds": (0.5,)}, "expected 2: one per label"),
        ({"patients": ("p",)}, "patients has 1 values, expected 2"),
    ],
)
def test_what_cannot_be_measured_is_refused(change: dict, message: str) -> None:
    sound = {
        "labels": np.array([[1, 0], [0, -1]]),
        "probabilities": np.full((2, 2), 0.4),
        "classes": ("a", "b"),
    }
    LabelPredictions(**sound)
    with pytest.raises(EvaluationError, match=message):
        LabelPredictions(**{**sound, **change})
