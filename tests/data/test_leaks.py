from dataclasses import replace
from pathlib import Path

import pytest

from medfuse.data import Case, Cohort, resolve_leaks, tally
from medfuse.errors import CohortError


def _cohort(*rows) -> Cohort:
    """Rows are (case id, label, patient, role)."""
    cases = tuple(Case(i, {"image": f"{i}.png"}, label, p, role=role) for i, label, p, role in rows)
    return Cohort(cases, ("a", "b"), Path("x"))


def _ids(cohort):
    return [case.case_id for case in cohort.cases]


def test_a_clean_cohort_passes_unchanged():
    cohort = _cohort(("c1", 0, "smith", "train"), ("c2", 1, "jones", "test"))
    assert resolve_leaks(cohort, {"c1": "x", "c2": "y"})[0] is cohort


def test_a_patient_on_two_sides_is_refused_by_case_not_by_name():
    cohort = _cohort(("c1", 0, "smith", "train"), ("c2", 0, "smith", "test"))
    with pytest.raises(CohortError, match="1 x one patient on two sides") as caught:
        resolve_leaks(cohort, {})
    assert "c1 = c2" in str(caught.value)
    assert "drop_from_training" in str(caught.value)
    assert "smith" not in str(caught.value)


def test_identical_pixels_on_two_sides_are_refused():
    cohort = _cohort(("c1", 0, "p1", "train"), ("c2", 0, "p2", "validation"))
    with pytest.raises(CohortError, match=r"1 x identical images on two sides \(c1 = c2\)"):
        resolve_leaks(cohort, {"c1": "x", "c2": "x"})


def test_identical_pixels_with_different_labels_are_refused_even_on_one_side():
    cohort = _cohort(("c1", 0, "p1", "train"), ("c2", 1, "p2", "train"))
    with pytest.raises(CohortError, match=r"with different labels \(c1 = c2\)"):
        resolve_leaks(cohort, {"c1": "x", "c2": "x"})


@pytest.mark.parametrize(
    ("roles", "kept"),
    [
        (("train", "test"), ["c2"]),
        (("validation", "test"), ["c2"]),
        (("test", "calibration"), ["c1"]),
        (("train", "validation"), ["c2"]),
        (("calibration", "validation"), ["c1"]),
        ((None, "test"), ["c1", "c2"]),
    ],
)
@pytest.mark.parametrize("kind", ["patient", "pixels"])
def test_dropping_keeps_the_side_that_judges(roles, kept, kind):
    same = kind == "patient"
    cohort = _cohort(("c1", 0, "p1", roles[0]), ("c2", 0, "p1" if same else "p2", roles[1]))
    digests = {} if same else {"c1": "x", "c2": "x"}
    clean, report = resolve_leaks(cohort, digests, "drop_from_training")
    assert _ids(clean) == kept
    assert report.summary()["dropped"] == 2 - len(kept)
    resolve_leaks(clean, digests, "refuse")


def test_contradicting_copies_are_dropped_outside_the_test_part_and_counted():
    rows = [("c1", 0, "p1", "train"), ("c2", 1, "p2", "train"), ("c3", 0, "p3", "test")]
    cohort = _cohort(*rows, ("c4", 1, "p4", "test"), ("c5", 1, "p5", "train"))
    clean, report = resolve_leaks(
        cohort, dict.fromkeys(("c1", "c2", "c3", "c4"), "x"), "drop_from_training"
    )
    assert _ids(clean) == ["c3", "c4", "c5"]
    assert report.summary()["found"] == {"labels": 1, "pixels": 1}
    assert report.dropped == ("c1", "c2")
    assert tally(clean.events) == {"LEAK_LABELS_DROPPED": 2, "LEAK_LABELS_KEPT": 1}


def test_unlabelled_copies_do_not_contradict():
    cohort = _cohort(("c1", 0, "p1", None), ("c2", None, "p2", None))
    assert resolve_leaks(cohort, {"c1": "x", "c2": "x"})[1].leaks == ()


def test_duplicates_on_one_side_are_counted_and_kept():
    cohort = _cohort(("c1", 0, "p1", "train"), ("c2", 0, "p2", "train"))
    clean, report = resolve_leaks(cohort, {"c1": "x", "c2": "x"})
    assert len(clean.cases) == 2
    assert report.summary() == {"found": {}, "dropped": 0, "duplicate_groups": 1}


def test_repetitions_of_a_split_are_judged_each_for_itself():
    cohort = _cohort(("c1", 0, "p1", "train"), ("c1", 0, "p1", "test"))
    apart = [replace(case, repeat=i) for i, case in enumerate(cohort.cases)]
    assert resolve_leaks(cohort.with_cases(apart), {})[1].leaks == ()
    with pytest.raises(CohortError, match="one patient"):
        resolve_leaks(cohort, {})
