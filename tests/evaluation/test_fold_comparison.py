"""Verdicts of known cases, recomputed tests, laws, and equal candidates by simulation."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from medfuse.errors import EvaluationError
from medfuse.evaluation import EvaluationSettings, fold_comparison
from medfuse.evaluation.candidates import Candidate, FoldCases
from medfuse.evaluation.fold_comparison import compare_on_folds

SETTINGS = EvaluationSettings(bootstrap=200)


def softmax(logits: np.ndarray) -> np.ndarray:
    chances = np.exp(logits)
    return chances / chances.sum(1, keepdims=True)


def cases_of(rng: np.random.Generator, count: int = 300, classes: int = 2) -> FoldCases:
    labels = rng.permutation(np.arange(count) % classes)
    names = tuple(f"class {k}" for k in range(classes))
    return FoldCases(labels, names, (), np.arange(count) % 5)


def candidates_of(
    cases: FoldCases, rng: np.random.Generator, skills: dict[str, tuple[str, float]]
) -> list[Candidate]:
    """Return candidates by name, of a kind and a skill, whose errors are correlated."""
    count, classes = len(cases), len(cases.classes)
    truth = np.eye(classes)[cases.labels]
    shared = rng.normal(size=(count, classes))
    return [
        Candidate(
            name, kind, (name,), softmax(skill * truth + shared + rng.normal(size=shared.shape))
        )
        for name, (kind, skill) in skills.items()
    ]


FIELD = {
    "A": ("single", 1.0),
    "B": ("single", 0.6),
    "attention": ("fusion", 2.2),
    "concat": ("fusion", 1.0),
    "k-NN": ("baseline", 0.2),
}


def compared() -> dict:
    rng = np.random.default_rng(0)
    cases = cases_of(rng)
    return compare_on_folds(cases, candidates_of(cases, rng, FIELD), "attention", SETTINGS)


@pytest.fixture(scope="module")
def found() -> dict:
    return compared()


def test_a_clear_gain_is_claimed_with_its_interval_and_corrected_p_value(found: dict) -> None:
    row = next(r for r in found["comparisons"] if r["first"] == "attention")
    assert found["helps"] is True
    assert found["best_single"] == row["second"] == "A"
    gap = row["auroc"]
    assert found["verdict"] == (
        f"fusing attention (attention) gains {gap['difference']:.3f} AUROC "
        f"[{gap['low']:.3f}, {gap['high']:.3f}] against the best single source (A); p < 0.001 "
        "(Holm, 3 comparisons)."
    )


def test_result_is_plain_data_and_names_every_candidate(found: dict) -> None:
    data = json.loads(json.dumps(found, allow_nan=False))
    assert [c["name"] for c in data["candidates"]] == list(FIELD)
    assert data["correction"] == {"method": "Holm", "comparisons": 3}
    assert {r["question"] for r in data["comparisons"]} == {"fusing", "baselines"}


def test_p_values_are_corrected_as_by_statsmodels(found: dict) -> None:
    rows = found["comparisons"]
    expected = multipletests([r["p_value"] for r in rows], method="holm")[1]
    assert [r["p_adjusted"] for r in rows] == pytest.approx(expected)


def test_p_value_of_a_gain_is_the_largest_over_all_single_sources(found: dict) -> None:
    row = next(r for r in found["comparisons"] if r["first"] == "attention")
    assert set(row["p_single"]) == {"A", "B"}
    assert row["p_value"] == max(row["p_single"].values())


def test_accuracy_is_tested_as_statsmodels_mcnemar_does() -> None:
    rng = np.random.default_rng(3)
    cases = cases_of(rng)
    both = candidates_of(cases, rng, {"A": ("single", 1.0), "f": ("fusion", 1.3)})
    right = [c.probabilities.argmax(1) == cases.labels for c in both]
    table = [[(a & b).sum() for b in (right[0], ~right[0])] for a in (right[1], ~right[1])]
    row = compare_on_folds(cases, both, "f", SETTINGS)["comparisons"][0]
    assert row["mcnemar"]["p_exact"] == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)
    assert row["accuracy"]["difference"] == pytest.approx(right[1].mean() - right[0].mean())


def test_accuracy_of_patients_with_several_cases_is_not_tested_by_mcnemar() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat(np.arange(60) % 2, 2)
    cases = FoldCases(labels, ("a", "b"), tuple(np.repeat(np.arange(60), 2)), np.arange(120) // 24)
    both = candidates_of(cases, rng, {"A": ("single", 1.0), "f": ("fusion", 1.3)})
    row = compare_on_folds(cases, both, "f", SETTINGS)["comparisons"][0]
    assert row["mcnemar"] == {"p_mid": None, "reason": "some patients have several cases"}
    assert row["accuracy"]["p_value"] is not None


def test_a_clear_loss_and_no_difference_are_said_as_such() -> None:
    rng = np.random.default_rng(5)
    cases = cases_of(rng)
    field = {"A": ("single", 2.5), "B": ("single", 0.1), "f": ("fusion", 0.8)}
    lost = compare_on_folds(cases, candidates_of(cases, rng, field), "f", SETTINGS)
    assert "loses" in lost["verdict"]
    assert lost["helps"] is False
    field["f"] = ("fusion", 2.5)
    equal = compare_on_folds(cases, candidates_of(cases, rng, field), "f", SETTINGS)
    assert equal["verdict"].startswith("no evidence that fusing f (f) helps")
    assert equal["helps"] is False


def test_a_copy_of_the_best_source_is_no_gain() -> None:
    rng = np.random.default_rng(6)
    cases = cases_of(rng)
    single = candidates_of(cases, rng, {"A": ("single", 1.0)})[0]
    copy = Candidate("f", "fusion", ("A",), single.probabilities)
    found = compare_on_folds(cases, [single, copy], "f", SETTINGS)
    assert found["verdict"] == "no evidence that fusing A (f) helps: the same ranks as the best " \
        "single source (A)."  # fmt: skip


def test_resamples_drawn_anew_for_each_candidate_give_the_same(
    found: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold_comparison, "_MOST_AT_HAND", 0)
    assert compared() == found


def test_candidates_that_see_other_cases_have_resamples_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(3)
    cases = cases_of(rng)
    halves = np.arange(len(cases)) % 4 < 2
    several = [
        replace(candidate, visible=seen)
        for candidate, seen in zip(
            candidates_of(cases, rng, FIELD), (halves, ~halves, None, None, halves), strict=True
        )
    ]
    at_hand = compare_on_folds(cases, several, "attention", SETTINGS)
    monkeypatch.setattr(fold_comparison, "_MOST_AT_HAND", 0)
    assert compare_on_folds(cases, several, "attention", SETTINGS) == at_hand


def test_order_of_cases_and_candidates_does_not_matter() -> None:
    rng = np.random.default_rng(7)
    cases = cases_of(rng, classes=3)
    field = candidates_of(cases, rng, FIELD)
    settings = EvaluationSettings(bootstrap=0)
    known = compare_on_folds(cases, field, "attention", settings)
    order = rng.permutation(len(cases))
    moved = FoldCases(cases.labels[order], cases.classes, order, cases.folds[order])
    others = [Candidate(c.name, c.kind, c.sources, c.probabilities[order]) for c in field[::-1]]
    other = compare_on_folds(moved, others, "attention", settings)
    assert other["verdict"] == known["verdict"]
    by_name = {(r["first"], r["second"]): r for r in other["comparisons"]}
    for row in known["comparisons"]:
        assert by_name[row["first"], row["second"]]["p_adjusted"] == pytest.approx(
            row["p_adjusted"]
        )


def test_a_source_that_sees_some_cases_is_compared_on_them() -> None:
    rng = np.random.default_rng(8)
    cases = cases_of(rng)
    first, second, fused = candidates_of(
        cases, rng, {"A": ("single", 0.2), "B": ("single", 2.0), "f": ("fusion", 2.5)}
    )
    seen = np.arange(300) % 3 == 0
    second = Candidate("B", "single", ("B",), second.probabilities, seen)
    found = compare_on_folds(cases, [first, second, fused], "f", SETTINGS)
    row = found["comparisons"][0]
    assert (row["second"], row["cases"]) == ("B", 100)
    assert "on the 100 of 300 cases that it can see" in found["verdict"]
    blind = Candidate("B", "single", ("B",), second.probabilities, np.zeros(300, dtype=bool))
    without = compare_on_folds(cases, [first, blind, fused], "f", SETTINGS)
    assert without["best_single"] == "A"
    assert without["comparisons"][0]["p_value"] is None  # B cannot be ruled out


def test_too_few_cases_of_a_class_are_said_not_tested() -> None:
    labels = np.array([0, 0, 0, 0, 0, 1])
    cases = FoldCases(labels, ("a", "b"), (), np.array([0, 0, 0, 1, 1, 1]))
    rng = np.random.default_rng(0)
    both = candidates_of(cases, rng, {"A": ("single", 1.0), "f": ("fusion", 1.3)})
    found = compare_on_folds(cases, both, "f", SETTINGS)
    assert "cannot be compared: too few cases of some class" in found["verdict"]
    assert found["helps"] is None


def test_what_cannot_be_compared_is_refused() -> None:
    rng = np.random.default_rng(0)
    cases = cases_of(rng)
    single, fused = candidates_of(cases, rng, {"A": ("single", 1.0), "f": ("fusion", 1.3)})
    with pytest.raises(EvaluationError, match="no single source"):
        compare_on_folds(cases, [fused], "f")
    with pytest.raises(EvaluationError, match="found no candidate 'g' among A, f"):
        compare_on_folds(cases, [single, fused], "g")
    with pytest.raises(EvaluationError, match="two candidates have the same name"):
        compare_on_folds(cases, [single, single], "A")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("classes", [2, 3])
def test_equal_candidates_are_told_apart_in_five_percent_of_simulations(classes: int) -> None:
    """One source, one fusion, equally good, two correlated cases a patient: alpha is kept."""
    rng, claims, gains, trials = np.random.default_rng(11), 0, 0, 600
    settings = EvaluationSettings(bootstrap=0)
    patients = np.repeat(np.arange(60), 2)
    for _ in range(trials):
        labels = np.repeat(rng.permutation(np.arange(60) % classes), 2)
        cases = FoldCases(labels, tuple("abc"[:classes]), patients, patients % 4)
        truth = np.eye(classes)[labels]
        own = rng.normal(size=(3, 60, classes))[:, patients] + rng.normal(size=(3, 120, classes))
        shown = [softmax(1.5 * truth + own[2] + own[i]) for i in range(2)]
        both = [
            Candidate("A", "single", ("A",), shown[0]),
            Candidate("f", "fusion", ("A",), shown[1]),
        ]
        found = compare_on_folds(cases, both, "f", settings)
        claims += "no evidence" not in found["verdict"]
        gains += bool(found["helps"])
    # Binomial bounds at 99.9 % of 600 trials around 5 % and 2.5 %.
    assert 0.022 < claims / trials < 0.085
    assert 0.007 < gains / trials < 0.05


@pytest.mark.slow
@pytest.mark.long
def test_the_best_of_many_equal_fusions_gains_in_at_most_five_percent() -> None:
    rng, gains, trials = np.random.default_rng(12), 0, 300
    settings = EvaluationSettings(bootstrap=0)
    field = {"A": ("single", 1.0), "B": ("single", 1.0)}
    field |= {f"f{i}": ("fusion", 1.0) for i in range(5)}
    for _ in range(trials):
        cases = cases_of(rng, 120)
        found = compare_on_folds(cases, candidates_of(cases, rng, field), "f0", settings)
        gains += any(
            row["p_adjusted"] < 0.05 and row["auroc"]["difference"] > 0
            for row in found["comparisons"]
        )
    assert gains / trials <= 0.05
