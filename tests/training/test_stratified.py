"""Parts are those of scikit-learn, and drawn once for all who ask for the same."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import sklearn.model_selection
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from medfuse.training.stratified import stratified_parts

LABELS = np.arange(60) % 3
GROUPS = np.random.default_rng(0).permutation(60) // 2


def test_parts_are_those_that_scikit_learn_draws() -> None:
    splitter = StratifiedGroupKFold(4, shuffle=True, random_state=7)
    expected = [held_out for _, held_out in splitter.split(LABELS, LABELS, GROUPS)]
    for found, part in zip(stratified_parts(LABELS, GROUPS, 4, 7), expected, strict=True):
        np.testing.assert_array_equal(found, part)


def test_the_same_parts_are_drawn_once_and_nobody_can_spoil_them() -> None:
    first = stratified_parts(LABELS, GROUPS, 5, 1)
    expected = [part.copy() for part in first]
    first[0][:] = 0
    with patch.object(sklearn.model_selection, "StratifiedGroupKFold", side_effect=AssertionError):
        again = stratified_parts(LABELS.copy(), GROUPS.copy(), 5, 1)
    for found, part in zip(again, expected, strict=True):
        np.testing.assert_array_equal(found, part)


def test_other_cases_seeds_and_counts_have_their_own_parts() -> None:
    asked = [(LABELS, GROUPS, 5, 1), (LABELS, GROUPS, 5, 2), (np.sort(LABELS), GROUPS, 5, 1)]
    found = [stratified_parts(*one)[0].tolist() for one in asked]
    assert len({tuple(rows) for rows in found}) == 3
    assert len(stratified_parts(LABELS, GROUPS, 3, 1)) == 3


def test_a_class_with_fewer_cases_than_parts_is_fine() -> None:
    labels = np.r_[np.zeros(18, np.int64), [1, 1]]
    parts = stratified_parts(labels, np.arange(20), 5, 0)
    assert sorted(np.concatenate(parts).tolist()) == list(range(20))


def test_patients_of_one_case_each_need_no_walk_from_patient_to_patient() -> None:
    splitter = StratifiedKFold(4, shuffle=True, random_state=7)
    expected = [held_out for _, held_out in splitter.split(LABELS, LABELS)]
    with patch.object(sklearn.model_selection, "StratifiedGroupKFold", side_effect=AssertionError):
        parts = stratified_parts(LABELS, np.arange(60) + 5, 4, 7)
    for found, part in zip(parts, expected, strict=True):
        np.testing.assert_array_equal(found, part)
