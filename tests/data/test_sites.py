"""A site that is held out is the test part, and no patient of it is learned from."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfuse.config import SplitConfig
from medfuse.data import Case, Cohort, assign_roles
from medfuse.errors import CohortError


def cohort_of(sites: dict[str, int], role: str | None = None) -> Cohort:
    """Return cases of two labels at each site, each of a patient of its own."""
    names = [name for name, count in sites.items() for _ in range(count)]
    cases = tuple(
        Case(f"c{i}", {"image": f"{i}.png"}, i % 2, f"p{i}", site=name, role=role)
        for i, name in enumerate(names)
    )
    return Cohort(cases, ("a", "b"), Path("x"))


HELD = SplitConfig(hold_out_site="south", validation=0.25)


def test_its_cases_and_no_others_are_tested() -> None:
    done = assign_roles(cohort_of({"north": 20, "south": 8, "west": 12}), HELD)
    assert {case.site for case in done.part("test")} == {"south"}
    assert len(done.part("test")) == 8
    assert {case.site for case in done.part("validation")} == {"north", "west"}
    assert len(done.part("validation")) == 8


def test_a_patient_who_was_there_is_tested_wherever_else_the_case_is_from() -> None:
    bare = cohort_of({"north": 20, "south": 8})
    wandering = Case("away", {"image": "a.png"}, 0, "p20", site="north")
    done = assign_roles(bare.with_cases([*bare.cases, wandering]), HELD)
    assert {c.case_id: c.role for c in done.cases}["away"] == "test"


@pytest.mark.parametrize(
    ("cohort", "text"),
    [
        (cohort_of({"north": 8, "sauth": 8}), r"no case is of the site 'south', found north \(8\)"),
        (cohort_of({"": 8}), "found no site at all.* Give the cases a column named site"),
        (cohort_of({"south": 8}), "every case is of the site 'south', so none is left"),
        (cohort_of({"north": 8, "south": 8}, "test"), "gives a test part and .*hold_out_site"),
    ],
)
def test_what_cannot_be_held_out_is_refused(cohort: Cohort, text: str) -> None:
    with pytest.raises(CohortError, match=text):
        assign_roles(cohort, HELD)
