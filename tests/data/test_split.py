import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from medfuse.config import CohortConfig, SplitConfig
from medfuse.data import Case, Cohort, assign_roles, read_cohort, split_digest, tally
from medfuse.errors import CohortError, ConfigError


def _cohort(rows, classes=("a", "b", "c"), **more) -> Cohort:
    """Rows are (label, patient) or (label, patient, role)."""
    cases = tuple(
        Case(f"c{i:04d}", {"image": f"{i}.png"}, row[0], f"p{row[1]}", role=(*row, None)[2])
        for i, row in enumerate(rows)
    )
    return Cohort(cases, classes, Path("x"), **more)


_ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), min_size=60, max_size=150)


def _usable(rows):
    return rows + [(label, 100 + 10 * label + i) for label in range(3) for i in range(6)]


@settings(max_examples=15, deadline=None)
@given(_ROWS, st.integers(0, 5), st.sampled_from([None, 3]))
def test_no_patient_and_no_picture_is_on_two_sides(rows, seed, folds):
    cohort = _cohort(_usable(rows))
    digests = {
        case.case_id: str(i - i % 2 if i % 10 < 2 else i) for i, case in enumerate(cohort.cases)
    }
    split = assign_roles(cohort, SplitConfig(seed=seed, calibration=0.1, folds=folds), digests)
    for keys in ({c.case_id: c.patient_id for c in split.cases}, digests):
        sides = {}
        for case in split.cases:
            sides.setdefault(keys[case.case_id], set()).add(case.role)
        assert all(len(found) == 1 for found in sides.values())
    assert all(case.role for case in split.cases)


@settings(max_examples=15, deadline=None)
@given(_ROWS, st.randoms(use_true_random=False))
def test_the_split_does_not_depend_on_the_order_of_the_cases(rows, shuffler):
    cohort = _cohort(_usable(rows))
    shuffled = list(cohort.cases)
    shuffler.shuffle(shuffled)
    one = assign_roles(cohort, SplitConfig())
    two = assign_roles(replace(cohort, cases=tuple(shuffled)), SplitConfig())
    assert split_digest(one) == split_digest(two)


def test_the_split_is_the_one_it_always_was():
    cohort = _cohort([(i % 3, i // 2) for i in range(60)])
    assert split_digest(assign_roles(cohort, SplitConfig(seed=7)))[:16] == "782ca5c78446cd71"


def test_another_seed_gives_another_split():
    cohort = _cohort([(i % 3, i) for i in range(90)])
    seeds = {split_digest(assign_roles(cohort, SplitConfig(seed=s))) for s in range(5)}
    assert len(seeds) == 5


def test_each_class_has_its_share_in_each_part():
    cohort = _cohort([(0, i) for i in range(200)] + [(1, i) for i in range(200, 260)], ("a", "b"))
    split = assign_roles(cohort, SplitConfig(test=0.2, validation=0.15, calibration=0.1))
    assert split.counts() == {
        "train": {"a": 110, "b": 33},
        "validation": {"a": 30, "b": 9},
        "calibration": {"a": 20, "b": 6},
        "test": {"a": 40, "b": 12},
    }


def test_folds_are_as_even_as_those_of_scikit_learn():
    chooser = np.random.default_rng(0)
    patients = chooser.integers(0, 120, 600)
    labels = (patients % 7 == 0).astype(int) + chooser.binomial(1, 0.2, 600)
    cohort = _cohort(list(zip(labels.tolist(), patients.tolist(), strict=True)))

    def spread(folds):
        table = np.array([[Counter(f)[k] for k in range(3)] for f in folds])
        return np.abs(table - table.mean(0)).max()

    split = assign_roles(cohort, SplitConfig(folds=5))
    ours = [[c.label for c in split.cases if c.fold == k] for k in range(5)]
    peer = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    theirs = [labels[test].tolist() for _, test in peer.split(labels, labels, patients)]
    assert spread(ours) <= spread(theirs) + 1


def test_every_case_is_tested_once_over_the_folds():
    cohort = _cohort([(i % 3, i // 2) for i in range(60)])
    tested = Counter(
        case.case_id
        for fold in range(4)
        for case in assign_roles(cohort, SplitConfig(folds=4, fold=fold)).part("test")
    )
    assert set(tested.values()) == {1}
    assert len(tested) == 60


def test_given_folds_are_kept():
    cohort = _cohort([(i % 3, i) for i in range(60)])
    numbered = [replace(case, fold=i % 2) for i, case in enumerate(cohort.cases)]
    split = assign_roles(cohort.with_cases(numbered), SplitConfig(folds=2, fold=1))
    assert {case.case_id for case in split.part("test")} == {
        case.case_id for case in numbered if case.fold == 1
    }


def test_given_parts_stay_and_the_missing_ones_come_out_of_training():
    rows = [(i % 3, i, "train" if i < 60 else "test") for i in range(90)]
    split = assign_roles(_cohort(rows, given_roles=True), SplitConfig(validation=0.2))
    assert [c.case_id for c in split.part("test")] == [f"c{i:04d}" for i in range(60, 90)]
    assert split.counts()["validation"] == {"a": 4, "b": 4, "c": 4}


def test_a_complete_given_split_is_left_alone():
    roles = ("train", "train", "validation", "test")
    cohort = _cohort([(i % 3, i, roles[i % 4]) for i in range(60)])
    split = assign_roles(cohort, SplitConfig())
    assert split.cases == cohort.cases


def test_a_case_without_a_role_follows_its_patient_or_its_picture():
    rows = [(i % 3, i) for i in range(60)] + [(0, 200, "test"), (0, 200), (1, 300)]
    digests = {"c0060": "same", "c0062": "same"}
    split = assign_roles(_cohort(rows), SplitConfig(), digests)
    assert {c.role for c in split.cases if c.case_id in ("c0060", "c0061", "c0062")} == {"test"}


def test_a_patient_with_two_labels_is_fine_and_reported_by_case():
    split = assign_roles(_cohort([(i % 3, i // 2) for i in range(60)]), SplitConfig())
    events = [e for e in split.events if e.code == "PATIENT_WITH_SEVERAL_LABELS"]
    assert len(events) == 30
    assert all(event.subject.startswith("c0") for event in events)


def test_a_class_missing_from_a_part_is_reported():
    split = assign_roles(
        _cohort([(0, i) for i in range(50)] + [(1, 90), (1, 91)], ("a", "b")), SplitConfig()
    )
    assert tally(split.events)["CLASS_ABSENT_FROM_PART"] >= 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the cohort has no case"),
        ([(0, i) for i in range(9)], r"found one class \(a\), expected at least two"),
        ([(0, 1), (0, 2), (1, 3)], "class 'b' has 1 case, expected at least two"),
        ([(None, 1), (None, 2)], "found no labelled case"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(rows, message):
    with pytest.raises(CohortError, match=message):
        assign_roles(_cohort(rows, ("a", "b")), SplitConfig())


def test_a_training_part_without_a_class_is_refused():
    rows = [(0, i) for i in range(20)] + [(1, 50, "test"), (1, 50)]
    with pytest.raises(CohortError, match="the training part has no case of b"):
        assign_roles(_cohort(rows, ("a", "b")), SplitConfig())


def test_duplicate_case_ids_are_refused():
    cohort = _cohort([(i % 2, i) for i in range(8)], ("a", "b"))
    with pytest.raises(CohortError, match="1 case_ids occur twice"):
        assign_roles(cohort.with_cases([*cohort.cases, cohort.cases[0]]), SplitConfig())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SplitConfig(test=0.5, validation=0.4, calibration=0.2), "expected less than 1"),
        (SplitConfig(folds=3, fold=3), "fold is 3, expected 0 to 2"),
    ],
)
def test_impossible_fractions_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        assign_roles(_cohort([(i % 2, i) for i in range(9)], ("a", "b")), config)


def test_folds_beside_a_given_test_part_are_refused():
    cohort = _cohort([(i % 2, i, "test" if i > 6 else None) for i in range(9)], ("a", "b"))
    with pytest.raises(CohortError, match="expected one of the two"):
        assign_roles(cohort, SplitConfig(folds=2))


def test_figures_of_the_real_ct_set_stay_together_in_even_folds(shared_data):
    config = CohortConfig(path=str(shared_data / "ct_covid2"), group_pattern=r"^([^%]+)")
    cohort = read_cohort(config)
    shuffled = random.Random(0).sample(cohort.cases, len(cohort.cases))
    split = assign_roles(cohort.with_cases(shuffled), SplitConfig(folds=5))
    folds = {}
    for case in split.cases:
        folds.setdefault(case.patient_id, set()).add(case.fold)
    assert all(len(found) == 1 for found in folds.values())
    assert {*Counter((c.fold, c.label) for c in split.cases).values()} == {140}


def test_one_patient_cannot_fill_a_test_part():
    cohort = _cohort([(i % 2, 1) for i in range(12)], ("a", "b"))
    with pytest.raises(
        CohortError, match="found 1 patient, expected at least 3, one each for train, test, val"
    ):
        assign_roles(cohort, SplitConfig())
    assert assign_roles(cohort, SplitConfig(test=0, validation=0)).counts().keys() == {"train"}


def test_an_empty_validation_part_is_said(caplog):
    cohort = _cohort([(i % 2, 1) for i in range(12)], ("a", "b"))
    split = assign_roles(cohort, SplitConfig(test=0))
    assert [(e.code, e.subject) for e in split.events if e.code == "PART_EMPTY"] == [
        ("PART_EMPTY", "validation")
    ]
    assert "the validation part is empty" in caplog.text
    full = assign_roles(_cohort([(i % 2, i) for i in range(40)], ("a", "b")), SplitConfig())
    assert "PART_EMPTY" not in tally(full.events)


def _of_two_traits(trait: str) -> Cohort:
    """240 cases of 2 labels and 4 sites, or 4 patterns of inputs, of very different sizes."""
    sizes = {"a": 144, "b": 48, "c": 24, "d": 24}
    values = [value for value, size in sizes.items() for _ in range(size)]
    cases = tuple(
        Case(
            f"c{i:04d}",
            dict.fromkeys(("ct", *(value if trait == "inputs" else "")), f"{i}.png"),
            i % 2,
            f"p{i}",
            site=value if trait == "site" else "",
        )
        for i, value in enumerate(values)
    )
    return Cohort(cases, ("no", "yes"), Path("x"))


@pytest.mark.parametrize("trait", ["site", "inputs"])
@pytest.mark.parametrize("seed", range(4))
def test_each_site_and_each_pattern_of_inputs_has_its_share_in_each_part(trait, seed):
    cohort = assign_roles(_of_two_traits(trait), SplitConfig(test=0.25, seed=seed))
    tested = Counter(
        (case.label, case.site, tuple(case.inputs)) for case in cohort.cases if case.role == "test"
    )
    assert sorted(tested.values()) == [3, 3, 3, 3, 6, 6, 18, 18]


@pytest.mark.parametrize("trait", ["site", "inputs"])
def test_folds_are_even_within_each_site_and_each_pattern_of_inputs(trait):
    cohort = assign_roles(_of_two_traits(trait), SplitConfig(folds=3))
    counts = Counter(
        (case.fold, case.label, case.site, tuple(case.inputs)) for case in cohort.cases
    )
    assert sorted(counts.values()) == [4] * 12 + [8] * 6 + [24] * 6
