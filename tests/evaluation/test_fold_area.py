"""AUROC over folds against DeLong, the bootstrap, an influence curve and a textbook t-test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t
from sklearn.metrics import roc_auc_score

from medfuse.errors import EvaluationError
from medfuse.evaluation import Predictions, delong
from medfuse.evaluation.fold_area import area_difference, fold_area, fold_p_value
from medfuse.evaluation.resampling import weight_blocks

from .test_paired import OVARIAN


def binary(truth: np.ndarray, score: np.ndarray, patients: object = ()) -> Predictions:
    """Return predictions whose positive probabilities rank as ``score`` does."""
    chance = 1 / (1 + np.exp(-np.asarray(score, dtype=float)))
    return Predictions(truth.astype(int), np.c_[1 - chance, chance], ("no", "yes"), patients)


def several(seed: int, count: int = 240, classes: int = 3, skill: float = 1.0) -> Predictions:
    """Return predictions of several classes, two cases a patient."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(count // 2) % classes, 2)
    logits = rng.normal(size=(count, classes)) + skill * np.eye(classes)[labels]
    logits += np.repeat(rng.normal(size=(count // 2, classes)), 2, axis=0)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return Predictions(labels, chances, tuple("abc"[:classes]), np.repeat(np.arange(count // 2), 2))


def folds_of(predictions: Predictions, count: int = 4) -> np.ndarray:
    return np.unique(predictions.patient_index, return_inverse=True)[1] // 3 % count


def test_one_fold_of_two_classes_is_the_published_delong_test_of_the_ovarian_cancer_study() -> None:
    table = np.array(OVARIAN.split(), dtype=float).reshape(-1, 4)
    truth, one_fold = table[:, 3] == 1, np.zeros(len(table), dtype=int)
    areas = [fold_area(binary(truth, s), one_fold) for s in (table[:, 1], 10 - table[:, 2])]
    found = area_difference(*areas, confidence=0.95)
    assert found.first == pytest.approx(0.6478, abs=5e-5)
    assert found.difference == pytest.approx(-0.0780, abs=6e-5)
    assert found.p_value == pytest.approx(0.4561, abs=5e-5)


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_one_fold_of_two_classes_is_delong(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.append(rng.random(36) < 0.5, [True, True, False, False])
    first, second = rng.normal(size=(2, 40)) + truth
    one_fold = np.zeros(40, dtype=int)
    areas = [fold_area(binary(truth, s), one_fold) for s in (first, second)]
    found, known = area_difference(*areas, 0.95), delong(truth, first, second)
    assert found.difference == pytest.approx(known.difference)
    assert found.low == pytest.approx(known.low)
    assert found.p_value == pytest.approx(known.p_value)


def test_value_is_the_mean_of_scikit_learns_macro_aurocs_of_the_folds() -> None:
    predictions = several(0)
    folds = folds_of(predictions)
    expected = [
        roc_auc_score(
            predictions.labels[folds == fold],
            predictions.probabilities[folds == fold],
            multi_class="ovr",
        )
        for fold in range(4)
    ]
    found = fold_area(predictions, folds)
    assert found.value == pytest.approx(np.mean(expected))
    assert found.by_fold == pytest.approx(expected)


def test_error_is_that_of_the_influence_curve_of_ledell() -> None:
    """LeDell et al. (2015), equation 4.2: pooled class shares, areas of the own fold."""
    rng = np.random.default_rng(5)
    truth = np.arange(400) % 2 == 0
    folds = np.arange(400) // 2 % 5
    score = rng.normal(size=400) + truth
    total = 0.0
    for fold in range(5):
        y, s = truth[folds == fold], score[folds == fold]
        area, share = roc_auc_score(y, s), truth.mean()
        below = np.array([(s[~y] < one).mean() for one in s])
        above = np.array([(s[y] > one).mean() for one in s])
        curve = np.where(y, (below - area) / share, (above - area) / (1 - share))
        total += (curve**2).mean() / 5
    expected = np.sqrt(total / 400)
    found = np.sqrt((fold_area(binary(truth, score), folds).influence ** 2).sum())
    assert found == pytest.approx(expected, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 3])
def test_interval_of_a_difference_is_that_of_the_bootstrap_of_patients_within_folds(
    classes: int,
) -> None:
    first, second = several(1, classes=classes, skill=2.0), several(2, classes=classes)
    folds = folds_of(first)
    found = area_difference(fold_area(first, folds), fold_area(second, folds), 0.95)
    resampled = []
    for weights in weight_blocks(first.patient_index, 150, 3, folds):
        for row in weights.astype(int):
            taken = np.repeat(np.arange(len(first)), row)
            values = []
            for one in (first, second):
                parts = [taken[folds[taken] == f] for f in range(4)]
                values.append(
                    np.mean([
                        roc_auc_score(
                            np.eye(classes)[one.labels[rows]], one.probabilities[rows]
                        )
                        for rows in parts
                    ])
                )  # fmt: skip
            resampled.append(values[0] - values[1])
    assert found.difference == pytest.approx(resampled[0])
    error = (found.high - found.low) / 2 / 1.96
    assert np.std(resampled[1:]) == pytest.approx(error, rel=0.25)


def test_order_of_cases_and_names_of_folds_do_not_matter() -> None:
    first, second = several(3, skill=1.5), several(4)
    folds, order = folds_of(first), np.random.default_rng(0).permutation(len(first))

    def found(rows: np.ndarray, names: np.ndarray) -> object:
        areas = [
            fold_area(
                Predictions(
                    p.labels[rows], p.probabilities[rows], p.classes, p.patient_index[rows]
                ),
                names[folds[rows]],
            )
            for p in (first, second)
        ]
        return area_difference(*areas, 0.95)

    known = found(np.arange(len(first)), np.arange(4))
    other = found(order, np.array([7, 3, 9, 1]))
    assert other.p_value == pytest.approx(known.p_value)
    assert other.low == pytest.approx(known.low)


def test_difference_is_symmetric() -> None:
    areas = [fold_area(p, folds_of(p)) for p in (several(5, skill=1.5), several(6))]
    there, back = area_difference(*areas, 0.95), area_difference(*areas[::-1], 0.95)
    assert there.difference == -back.difference
    assert there.p_value == pytest.approx(back.p_value)
    assert fold_p_value(*areas) == pytest.approx(fold_p_value(*areas[::-1]))


def test_a_monotone_change_of_the_scores_of_one_fold_changes_nothing() -> None:
    rng = np.random.default_rng(8)
    truth, folds = np.arange(120) % 2 == 0, np.arange(120) // 2 % 3
    score = rng.normal(size=120) + truth
    moved = np.where(folds == 1, 0.1 * score - 4, score)
    kept = [fold_area(binary(truth, s), folds) for s in (score, moved)]
    assert kept[0].value == pytest.approx(kept[1].value)
    assert roc_auc_score(truth, moved) < roc_auc_score(truth, score) - 0.05


def test_copies_of_all_images_of_each_patient_gain_nothing() -> None:
    rng = np.random.default_rng(1)
    truth, folds = np.arange(80) % 2 == 0, np.arange(80) // 2 % 4
    first, second = rng.normal(size=(2, 80)) + np.array([[1.5], [1.0]]) * truth
    ids = np.repeat(np.arange(80), 3)
    once = [fold_area(binary(truth, s), folds) for s in (first, second)]
    thrice = [fold_area(binary(truth[ids], s[ids], ids), folds[ids]) for s in (first, second)]
    assert area_difference(*thrice, 0.95).p_value == pytest.approx(
        area_difference(*once, 0.95).p_value
    )


def test_a_fold_repeated_under_another_name_keeps_value_and_halves_the_variance() -> None:
    """As many independent patients more would: the patients are new ones, not copies."""
    first = several(9)
    one = np.zeros(len(first), dtype=int)
    twice = Predictions(
        np.tile(first.labels, 2),
        np.tile(first.probabilities, (2, 1)),
        first.classes,
        np.concatenate([first.patient_index, first.patient_index + 1000]),
    )
    alone, both = fold_area(first, one), fold_area(twice, np.repeat([0, 1], len(first)))
    assert both.value == pytest.approx(alone.value)
    assert (both.influence**2).sum() == pytest.approx((alone.influence**2).sum() / 2)


def test_fold_test_is_nadeau_and_bengios() -> None:
    areas = [fold_area(p, folds_of(p)) for p in (several(5, skill=1.3), several(6))]
    gaps = areas[0].by_fold - areas[1].by_fold
    statistic = gaps.mean() / np.sqrt((1 / 4 + 1 / 3) * gaps.var(ddof=1))
    assert fold_p_value(*areas) == pytest.approx(2 * t.sf(abs(statistic), 3))
    assert fold_p_value(areas[0], areas[0]) is None


def test_a_patient_in_two_folds_is_refused() -> None:
    predictions = several(0)
    with pytest.raises(EvaluationError, match="120 patients have cases in several folds"):
        fold_area(predictions, np.arange(len(predictions)) % 2)


def test_a_class_that_no_fold_can_test_leaves_the_value_undefined() -> None:
    truth = np.array([True, True, False, False])
    area = fold_area(binary(truth, np.arange(4.0)), np.array([0, 0, 1, 1]))
    assert np.isnan(area.value)


def test_strata_keep_their_number_of_patients() -> None:
    patient = np.repeat(np.arange(12), 2)
    strata = patient // 4
    for weights in weight_blocks(patient, 50, 0, strata):
        for stratum in range(3):
            assert (weights[:, strata == stratum].sum(1) == 8).all()
