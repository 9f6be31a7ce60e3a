"""What the tables of a comparison say, and what they leave out where it says nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medfuse.evaluation import EvaluationSettings
from medfuse.evaluation.candidates import Candidate, FoldCases
from medfuse.evaluation.fold_comparison import compare_on_folds
from medfuse.report import candidate_table, fold_comparison_table


def _found(patients: tuple[int, ...] = (), visible: Any = None) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(60) % 2, 2)
    folds = np.arange(120) // 4 % 4
    cases = FoldCases(labels, ("a", "b"), patients, folds)

    def candidate(name: str, kind: Any, skill: float, seen: Any = None) -> Candidate:
        logit = rng.normal(size=120) + skill * (labels - 0.5)
        chance = 1 / (1 + np.exp(-logit))
        return Candidate(name, kind, (name,), np.c_[1 - chance, chance], seen)

    both = [
        candidate("A", "single", 1.0, visible),
        candidate("f", "fusion", 4.0),
        candidate("k-NN", "baseline", 0.5),
        candidate("g", "fusion", 2.0),
    ]
    found = compare_on_folds(cases, both, "f", EvaluationSettings(bootstrap=100))
    return {**found, "seen": dict.fromkeys("Afg", 0) | {"k-NN": 0}}


def test_candidates_come_kind_by_kind_the_best_first() -> None:
    table = candidate_table(_found())
    assert [row[0] for row in table.rows] == ["A", "f", "g", "k-NN"]
    assert table.header[:3] == ["candidate", "kind", "AUROC"]
    assert "120 cases of 120 patients in 4 folds" in table.caption


def test_seen_cases_and_partly_visible_cases_get_columns() -> None:
    found = _found(visible=np.arange(120) % 2 == 0)
    found["seen"]["A"] = 9
    table = candidate_table(found)
    assert table.header[2:4] == ["cases", "cases seen before"]
    assert table.rows[0][2:4] == ["60", "9"]
    assert table.rows[1][2:4] == ["120", "0"]
    tests = fold_comparison_table(found, "fusing")
    assert tests.rows[0][:3] == ["f", "A", "60"]


def test_tests_say_which_they_are() -> None:
    single, several = _found(), _found(tuple(np.repeat(np.arange(60), 2)))
    assert "McNemar's mid-p" in fold_comparison_table(single, "fusing").caption
    caption = fold_comparison_table(several, "fusing").caption
    assert "bootstrap of the patients" in caption
    assert "corrected together with all 3 comparisons made" in caption
    assert "largest over all single sources" in caption
    assert "largest over" not in fold_comparison_table(several, "baselines").caption
    assert "would show it too. Accuracy" in caption
    few = fold_comparison_table({**single, "folds": 2}, "fusing").caption
    assert "would show it too (of 3 folds or more). Accuracy" in few


@pytest.mark.parametrize("question", ["fusing", "baselines"])
def test_numbers_are_those_of_the_comparison(question: str) -> None:
    found = _found()
    rows = [row for row in found["comparisons"] if row["question"] == question]
    top = max(rows, key=lambda row: row["auroc"]["difference"])
    gap = top["auroc"]
    shown = fold_comparison_table(found, question).rows[0]
    numbers = f"{gap['difference']:+.3f} [{gap['low']:+.3f},\u00a0{gap['high']:+.3f}]"
    assert shown[:3] == [top["first"], top["second"], numbers]
