"""Several labels on folds against scikit-learn, derivatives by weights, the bootstrap and laws."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score

from medfuse.evaluation import EvaluationSettings, LabelPredictions
from medfuse.evaluation.candidates import Candidate, FoldCases
from medfuse.evaluation.fold_area import area_difference, fold_area, measured_labels
from medfuse.evaluation.fold_comparison import compare_on_folds
from medfuse.evaluation.fold_curve import CurvePoint, fold_curve, nested_order
from medfuse.evaluation.resampling import weight_blocks
from medfuse.report import candidate_table, fold_comparison_table

from .test_fold_area import binary
from .test_paired import OVARIAN

NAMES = ("edema", "effusion", "mass")
SETTINGS = EvaluationSettings(bootstrap=100)


def cases_of(seed: int, patients: int = 120, folds: int = 4) -> FoldCases:
    """Return two cases a patient of three labels; a fifth of the answers is unknown."""
    rng = np.random.default_rng(seed)
    shares = np.array([0.5, 0.3, 0.2])
    answers = (rng.random((patients, 3)) < shares).repeat(2, axis=0).astype(np.int64)
    hidden = rng.random(answers.shape) < 0.2
    hidden[hidden.all(1)] = False
    answers[hidden] = -1
    numbers = np.repeat(np.arange(patients), 2)
    return FoldCases(answers, NAMES, tuple(numbers), numbers // 3 % folds)


def candidate_of(cases: FoldCases, seed: int, skill: float, name: str = "A") -> Candidate:
    """Return probabilities that tell known and unknown answers apart, alike within a patient."""
    rng = np.random.default_rng(seed)
    patients = np.unique(np.array(cases.patients), return_inverse=True)[1]
    logits = rng.normal(size=(patients.max() + 1, 3))[patients] + rng.normal(size=(len(cases), 3))
    logits += skill * (cases.labels == 1) - 1
    kind = "fusion" if name.startswith("f") else "single"
    return Candidate(name, kind, (name,), 1 / (1 + np.exp(-logits)))


def area_of(cases: FoldCases, candidate: Candidate):
    return cases.scored(candidate).area


def by_scikit_learn(cases: FoldCases, candidate: Candidate, times: np.ndarray) -> float:
    """Return the mean over labels of the mean over folds, each case taken some times."""
    means = []
    for label in range(len(cases.classes)):
        values = []
        for fold in np.unique(cases.folds):
            rows = np.repeat(np.arange(len(cases)), times)
            rows = rows[(cases.folds[rows] == fold) & (cases.labels[rows, label] != -1)]
            truth = cases.labels[rows, label]
            if 0 < truth.sum() < len(truth):
                values.append(roc_auc_score(truth, candidate.probabilities[rows, label]))
        means.append(np.mean(values))
    return float(np.mean(means))


def test_value_is_the_mean_of_scikit_learns_aurocs_of_known_answers() -> None:
    cases = cases_of(0)
    candidate = candidate_of(cases, 1, 1.0)
    found = area_of(cases, candidate)
    assert found.value == pytest.approx(by_scikit_learn(cases, candidate, np.ones(240, int)))
    for fold in range(4):
        expected = [
            roc_auc_score(cases.labels[rows, k], candidate.probabilities[rows, k])
            for k in range(3)
            for rows in [(cases.folds == fold) & (cases.labels[:, k] != -1)]
        ]
        assert found.by_fold[fold] == pytest.approx(np.mean(expected))


def test_two_copies_of_one_known_label_are_the_published_delong_test() -> None:
    table = np.array(OVARIAN.split(), dtype=float).reshape(-1, 4)
    truth, one_fold = (table[:, 3] == 1).astype(int), np.zeros(len(table), dtype=int)
    answers = np.stack([truth, truth], axis=1)
    areas = []
    for score in (table[:, 1], 10 - table[:, 2]):
        chance = 1 / (1 + np.exp(-score))
        found = LabelPredictions(answers, np.stack([chance, chance], axis=1), ("a", "b"))
        areas.append(fold_area(found, one_fold))
    gap = area_difference(*areas, confidence=0.95)
    assert gap.first == pytest.approx(0.6478, abs=5e-5)
    assert gap.difference == pytest.approx(-0.0780, abs=6e-5)
    assert gap.p_value == pytest.approx(0.4561, abs=5e-5)


def test_a_known_label_is_measured_as_two_classes_are_on_the_cases_that_have_an_answer() -> None:
    cases = cases_of(2)
    known = cases.labels[:, 0] != -1
    answers = np.where(np.arange(3) == 0, cases.labels, -1)[known]
    patients = np.array(cases.patients)[known]
    areas = []
    for seed in (3, 4):
        chances = candidate_of(cases, seed, 1.0).probabilities[known]
        labels = LabelPredictions(answers, chances, NAMES, patients)
        odds = np.log(chances[:, 0] / (1 - chances[:, 0]))
        classes = binary(answers[:, 0] == 1, odds, patients)
        areas.append([fold_area(one, cases.folds[known]) for one in (labels, classes)])
    labels, classes = (area_difference(*pair, 0.95) for pair in zip(*areas, strict=True))
    assert labels.difference == pytest.approx(classes.difference)
    assert labels.p_value == pytest.approx(classes.p_value)


@pytest.mark.slow
def test_influence_is_the_derivative_by_the_weight_of_a_patient_s_answers() -> None:
    """Of the weighted mean AUROC, with the degrees of freedom of each label and answer."""
    cases = cases_of(5, patients=48, folds=3)
    candidate = candidate_of(cases, 6, 1.0)
    step, patients = 1e-5, np.array(cases.patients)
    expected = np.zeros(48)
    for label in range(3):
        answers, scores = cases.labels[:, label], candidate.probabilities[:, label]
        for answer in (1, 0):
            having = len(np.unique(patients[answers == answer]))
            factor = np.sqrt(having / (having - 3)) / 3 / 3
            for patient in np.unique(patients[answers == answer]):
                own = (patients == patient) & (answers == answer)
                fold = (cases.folds == cases.folds[own][0]) & (answers != -1)
                ends = [
                    roc_auc_score(
                        answers[fold], scores[fold], sample_weight=1 + sign * step * own[fold]
                    )
                    for sign in (1, -1)
                ]
                expected[patient] += factor * (ends[0] - ends[1]) / (2 * step)
    by_name = np.argsort([str(patient) for patient in range(48)])
    found = area_of(cases, candidate).influence
    np.testing.assert_allclose(found, expected[by_name], atol=1e-8)


@pytest.mark.slow
@pytest.mark.long
def test_interval_of_a_difference_is_that_of_the_bootstrap_of_patients_within_folds() -> None:
    cases = cases_of(7, patients=150)
    first, second = candidate_of(cases, 8, 1.6), candidate_of(cases, 9, 0.8)
    found = area_difference(area_of(cases, first), area_of(cases, second), 0.95)
    resampled = []
    patients = np.array(cases.patients)
    for weights in weight_blocks(patients, 150, 3, cases.folds):
        for times in weights.astype(int):
            values = [by_scikit_learn(cases, one, times) for one in (first, second)]
            resampled.append(values[0] - values[1])
    assert found.difference == pytest.approx(resampled[0])
    error = (found.high - found.low) / 2 / 1.96
    assert np.std(resampled[1:]) == pytest.approx(error, rel=0.25)


@given(st.integers(0, 200))
@settings(max_examples=10, deadline=None)
def test_what_is_said_of_unknown_answers_does_not_matter(seed: int) -> None:
    cases = cases_of(seed)
    candidate = candidate_of(cases, seed, 1.0)
    noise = np.random.default_rng(seed).random(cases.labels.shape)
    other = np.where(cases.labels == -1, noise, candidate.probabilities)
    known, found = (
        cases.scored(replace(candidate, probabilities=p)) for p in (candidate.probabilities, other)
    )
    np.testing.assert_array_equal(known.area.influence, found.area.influence)
    settings = EvaluationSettings(bootstrap=20)
    tables = [one.resampled(one.weights(settings)) for one in (known, found)]
    assert set(tables[0]) == {(m, -1) for m in ("accuracy", "exact_match", "log_loss", "brier")}
    for key, values in tables[0].items():
        np.testing.assert_array_equal(values, tables[1][key])


def test_order_of_cases_labels_candidates_and_names_of_folds_do_not_matter() -> None:
    cases = cases_of(10)
    field = [candidate_of(cases, seed, skill, name) for seed, skill, name in (
        (1, 0.8, "A"), (2, 0.4, "B"), (3, 1.2, "f"), (4, 1.0, "f2"),
    )]  # fmt: skip
    plain = EvaluationSettings(bootstrap=0)
    known = compare_on_folds(cases, field, "f", plain)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(len(cases)), [2, 0, 1]
    moved = FoldCases(
        cases.labels[rows][:, columns],
        tuple(NAMES[k] for k in columns),
        tuple(np.array(cases.patients)[rows]),
        np.array([7, 3, 9, 1])[cases.folds[rows]],
    )
    others = [replace(c, probabilities=c.probabilities[rows][:, columns]) for c in field[::-1]]
    other = compare_on_folds(moved, others, "f", plain)
    assert other["verdict"] == known["verdict"]
    by_name = {(r["first"], r["second"]): r for r in other["comparisons"]}
    for row in known["comparisons"]:
        same = by_name[row["first"], row["second"]]
        assert same["p_adjusted"] == pytest.approx(row["p_adjusted"])
        for name in ("accuracy", "log_loss"):
            assert same[name]["difference"] == pytest.approx(row[name]["difference"])


def test_scores_are_means_over_labels_of_scikit_learns_on_known_answers() -> None:
    cases = cases_of(11)
    candidate = candidate_of(cases, 12, 1.0)
    expected: dict[str, list[float]] = {"accuracy": [], "log_loss": [], "brier": []}
    for label in range(3):
        known = cases.labels[:, label] != -1
        truth, chance = cases.labels[known, label], candidate.probabilities[known, label]
        expected["accuracy"].append(accuracy_score(truth, chance >= 0.5))
        expected["log_loss"].append(log_loss(truth, chance))
        expected["brier"].append(brier_score_loss(truth, chance))
    both = [candidate, candidate_of(cases, 13, 1.2, "f")]
    found = compare_on_folds(cases, both, "f", SETTINGS)
    row = next(c for c in found["candidates"] if c["name"] == "A")
    for name, values in expected.items():
        assert row[name]["value"] == pytest.approx(np.mean(values)), name
        assert row[name]["low"] < row[name]["value"] < row[name]["high"]
    wrong = ((candidate.probabilities >= 0.5) != (cases.labels == 1)) & (cases.labels != -1)
    assert row["exact_match"]["value"] == pytest.approx((~wrong.any(1)).mean())
    gap = found["comparisons"][0]
    assert gap["mcnemar"] == {"p_mid": None, "reason": "a case has several labels"}
    assert gap["accuracy"]["test"] == "bootstrap by patient"
    assert gap["accuracy"]["second"] == pytest.approx(np.mean(expected["accuracy"]))


def with_a_rare_label(cases: FoldCases) -> FoldCases:
    """Return the cases with a fourth label that one patient of each fold has."""
    patients = np.array(cases.patients)
    first = [patients[cases.folds == fold].min() for fold in np.unique(cases.folds)]
    rare = np.isin(patients, first).astype(np.int64)
    answers = np.hstack([cases.labels, rare[:, None]])
    return replace(cases, labels=answers, classes=(*NAMES, "hernia"))


def test_a_label_with_a_patient_per_fold_is_left_out_and_named() -> None:
    cases = cases_of(14)
    field = [candidate_of(cases, 15, 1.0), candidate_of(cases, 16, 1.3, "f")]
    known = compare_on_folds(cases, field, "f", SETTINGS)
    rare = with_a_rare_label(cases)
    guess = np.full((len(cases), 1), 0.01)
    more = [replace(c, probabilities=np.hstack([c.probabilities, guess])) for c in field]
    found = compare_on_folds(rare, more, "f", SETTINGS)
    assert measured_labels(rare.labels, np.array(rare.patients), rare.folds) == [0, 1, 2]
    assert (known["left_out"], found["left_out"]) == ([], ["hernia"])
    assert found["verdict"] == known["verdict"]
    for name in ("auroc", "accuracy", "log_loss"):
        assert found["comparisons"][0][name] == known["comparisons"][0][name]
    said = "Scores are means over 3 of 4 labels: hernia has too few patients of one answer."
    assert said in found["remarks"]
    assert said not in known["remarks"]
    assert (found["support"]["hernia"], found["absent"]["hernia"]) == (8, 232)


def test_a_label_of_which_one_fold_has_no_case_is_averaged_over_the_others() -> None:
    cases = cases_of(17)
    lacking = cases.labels.copy()
    lacking[(cases.folds == 2) & (lacking[:, 2] == 1), 2] = -1
    lacking[(lacking == -1).all(1), 1] = 0
    cases = replace(cases, labels=lacking)
    candidate = candidate_of(cases, 18, 1.0)
    values = [
        roc_auc_score(lacking[rows, 2], candidate.probabilities[rows, 2])
        for fold in (0, 1, 3)
        for rows in [(cases.folds == fold) & (lacking[:, 2] != -1)]
    ]
    found = area_of(cases, candidate)
    others = fold_area(
        LabelPredictions(
            lacking[:, :2].clip(0), candidate.probabilities[:, :2], NAMES[:2], cases.patients
        ),
        cases.folds,
    )
    assert np.isfinite(found.by_fold).all()
    assert others.value != found.value
    two = [
        np.mean([
            roc_auc_score(lacking[rows, k], candidate.probabilities[rows, k])
            for fold in range(4)
            for rows in [(cases.folds == fold) & (lacking[:, k] != -1)]
        ])
        for k in (0, 1)
    ]  # fmt: skip
    assert found.value == pytest.approx(np.mean([*two, np.mean(values)]))


def test_no_label_with_enough_patients_is_said_not_tested() -> None:
    answers = np.array([[1, 0], [0, 1], [0, 0], [1, 0], [0, 1], [0, 0]])
    cases = FoldCases(answers, ("a", "b"), (), np.array([0, 0, 0, 1, 1, 1]))
    chances = np.random.default_rng(0).random((2, 6, 2))
    both = [
        Candidate(name, kind, (name,), p)
        for name, kind, p in zip("Af", ("single", "fusion"), chances, strict=True)
    ]
    found = compare_on_folds(cases, both, "f", SETTINGS)
    assert found["helps"] is None
    assert cases.measured() == []
    json.dumps(found, allow_nan=False)


def test_tables_say_what_labels_are_measured_by() -> None:
    cases = cases_of(19)
    field = [candidate_of(cases, 20, 1.0), candidate_of(cases, 21, 3.0, "f")]
    found = {**compare_on_folds(cases, field, "f", SETTINGS), "seen": {"A": 0, "f": 0}}
    assert found["verdict"].startswith("fusing f (f) gains ")
    table = candidate_table(found)
    assert table.header[2:] == ["AUROC", "accuracy", "exact match", "log loss", "Brier score"]
    assert "AUROC: mean over the labels, averaged over the folds" in table.caption
    assert "unknown answers are left out" in table.caption
    assert "undefined" not in table.rows[0]
    assert "bootstrap of the patients" in fold_comparison_table(found, "fusing").caption


@given(st.integers(0, 300), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_first_cases_have_every_label_in_proportion_and_whole_patients_in_a_row(
    seed: int, per_patient: int
) -> None:
    rng = np.random.default_rng(seed)
    answers = (rng.random((160, 4)) < [0.5, 0.3, 0.2, 0.1]).astype(np.int64)
    groups = rng.permutation(np.repeat(np.arange(160) * 3, per_patient))
    labels = answers[groups // 3]
    order = nested_order(labels, groups, seed)
    assert sorted(order) == list(range(len(labels)))
    for size in (20, 40, 80):
        first = labels[order[: size * per_patient]]
        gaps = np.abs((first == 1).sum(0) / per_patient - answers.mean(0) * size)
        assert gaps.max() <= 4  # drawn at random, it is 8 in one of 20 draws of 80
    seen = groups[order]
    assert 1 + (seen[1:] != seen[:-1]).sum() == 160


def test_another_seed_draws_other_cases() -> None:
    cases = cases_of(22)
    groups = np.array(cases.patients)
    first, second = (nested_order(cases.labels, groups, seed)[:40] for seed in (0, 1))
    assert 10 < len(set(first) & set(second)) + 10 < 40
    np.testing.assert_array_equal(first, nested_order(cases.labels, groups, 0)[:40])


def test_curve_of_labels_is_that_of_the_comparison_with_the_accuracy_of_each_fold() -> None:
    cases = cases_of(23)
    both = [candidate_of(cases, 24, 0.5), candidate_of(cases, 25, 1.0, "f")]
    points = [CurvePoint(one.name, 40, (one,)) for one in both]
    found = fold_curve(cases, points, "f", "A", 0.95)
    known = area_difference(*(area_of(cases, one) for one in both[::-1]), 0.95)
    assert found["gains"][0]["p_value"] == pytest.approx(known.p_value)
    fit = next(f for f in found["fits"] if f["candidate"] == "A" and f["fold"] == 2)
    inside = cases.folds == 2
    expected = [
        accuracy_score(cases.labels[rows, k], both[0].probabilities[rows, k] >= 0.5)
        for k in range(3)
        for rows in [inside & (cases.labels[:, k] != -1)]
    ]
    assert fit["accuracy"] == pytest.approx(np.mean(expected))


@pytest.mark.slow
@pytest.mark.long
def test_equal_candidates_are_told_apart_in_five_percent_of_simulations() -> None:
    """Two equally good ones, correlated labels and cases of a patient, unknown answers."""
    claims, trials = 0, 400
    for trial in range(trials):
        cases = cases_of(1000 + trial, patients=80)
        shared = candidate_of(cases, 5000 + trial, 1.2).probabilities
        both = []
        for name in ("A", "f"):
            own = candidate_of(cases, 7000 + 2 * trial + (name == "f"), 1.2, name)
            both.append(replace(own, probabilities=(own.probabilities + shared) / 2))
        found = compare_on_folds(cases, both, "f", EvaluationSettings(bootstrap=0))
        claims += "no evidence" not in found["verdict"]
    # Binomial bounds at 99.9 % of 400 trials around 5 %.
    assert 0.016 < claims / trials < 0.09
