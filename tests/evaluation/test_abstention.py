"""When a prediction is not to be believed, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medfuse.evaluation.abstention import Abstention
from medfuse.evaluation.feature_distance import FeatureDistances
from medfuse.evaluation.feature_statistics import fit_distance, write_distances

X = np.random.default_rng(0).normal(size=(200, 3))


def known(*limits: float) -> FeatureDistances:
    """Return distances of sources s0, s1 ... with these limits, each of an input of its own."""
    sources = [
        replace(fit_distance(X, label=f"s{i}"), limit=limit, position=i)
        for i, limit in enumerate(limits)
    ]
    return FeatureDistances(tuple(sources), {})


def policy(*limits: float, **changes: object) -> Abstention:
    return Abstention(known(*(limits or (4.0, 4.0))), ("a", "b", "c"), **changes)  # type: ignore[arg-type]


SURE, UNSURE = [0.9, 0.06, 0.04], [0.4, 0.35, 0.25]


def test_a_familiar_case_gets_its_answer() -> None:
    found = policy()(SURE, np.array([2.0, 1.0]))
    assert (found.status, found.reason_code, found.reason) == ("ok", "", "")
    assert found.distances == {"s0": 0.5, "s1": 0.25}
    assert found.farthest == 0.5


def test_the_source_that_sees_something_else_is_named() -> None:
    found = policy()(SURE, np.array([4.4, 6.0]))
    assert (found.status, found.reason_code) == ("abstained", "OUT_OF_DISTRIBUTION")
    assert found.reason == "s1 lies 1.50 times as far from the training cases as its limit"


def test_a_case_just_beyond_the_limit_is_not_said_to_lie_at_it() -> None:
    found = policy()(SURE, np.array([1.0, 4.01]))
    assert found.reason == "s1 lies just farther from the training cases than its limit"


def test_a_distance_can_be_told_without_abstaining() -> None:
    found = policy(out_of_distribution=False)(SURE, np.array([40.0, 1.0]))
    assert (found.status, found.distances["s0"]) == ("ok", 10.0)


def test_a_missing_input_and_a_source_without_limit_have_no_vote() -> None:
    missing = policy()(SURE, np.array([np.nan, 1.0]))
    assert missing.status == "ok"
    assert missing.distances == {"s1": 0.25}
    endless = policy(np.inf, np.inf)(SURE, np.array([1e9, 1e9]))
    assert endless.status == "ok"
    assert endless.farthest is None


def test_low_confidence_and_ambiguous_sets_are_reasons_of_their_own() -> None:
    near = np.array([1.0, 1.0])
    unsure = policy(confidence=0.5)(UNSURE, near)
    assert (unsure.reason_code, unsure.reason) == (
        "LOW_CONFIDENCE",
        "the probability 0.400 is below 0.5",
    )
    sets = {"set_limits": [0.7, 0.7, 0.7], "largest_set": 1}
    ambiguous = policy(**sets)(UNSURE, near)
    assert ambiguous.reason_code == "AMBIGUOUS_SET"
    assert ambiguous.conformal_set == ("a", "b")
    assert policy(**sets)(SURE, near).status == "ok"


def test_what_is_strange_is_said_before_what_is_unsure() -> None:
    found = policy(confidence=0.95)(SURE, np.array([9.0, 9.0]))
    assert found.reason_code == "OUT_OF_DISTRIBUTION"


def test_features_of_several_inputs_are_judged_by_those_that_are_there() -> None:
    near, far = X[:1], X[:1] + 50
    features = np.concatenate([np.hstack([near, far]), np.hstack([near, far])])
    present = np.array([[True, True], [True, False]])
    strange, familiar = policy().from_features(np.array([SURE, SURE]), features, present)
    assert (strange.status, familiar.status) == ("abstained", "ok")
    assert list(familiar.distances) == ["s0"]


def test_a_policy_is_made_again_from_its_node(tmp_path: Path) -> None:
    path = str(tmp_path / "d.safetensors")
    first = policy(confidence=0.3, set_limits=[0.7, 0.7, 2.0], largest_set=2, score="aps")
    write_distances(first.distances, path)
    again = Abstention(**first.node(path))
    for row in (SURE, UNSURE):
        assert again(row, np.array([3.0, 9.0])) == first(row, np.array([3.0, 9.0]))


def test_a_score_at_the_limit_is_accepted() -> None:
    assert policy()(SURE, np.array([4.0, 4.0])).status == "ok"


@pytest.mark.parametrize("limit", [2.0])
def test_a_class_that_is_never_ruled_out_is_in_every_set(limit: float) -> None:
    found = policy(set_limits=[0.2, 0.2, limit])([0.99, 0.01, 0.0], np.array([1.0, 1.0]))
    assert found.conformal_set == ("a", "c")
