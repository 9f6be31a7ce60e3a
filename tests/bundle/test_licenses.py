from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medfuse.bundle.licenses import UNKNOWN, rank, strictest

KNOWN = ["CC0-1.0", "MIT", "Apache-2.0", "MPL-2.0", "GPL-3.0-only", "CC-BY-NC-4.0"]


@given(st.lists(st.sampled_from(KNOWN), min_size=1))
def test_the_strictest_of_many_is_as_strict_as_its_strictest_part(names: list[str]) -> None:
    verdict = strictest(names)
    assert rank(verdict.expression) == max(map(rank, names))
    assert strictest([verdict.expression]).expression == verdict.expression
    assert verdict.commercial is ("CC-BY-NC-4.0" not in names)


def test_unknown_licenses_are_named_and_leave_commercial_use_open() -> None:
    verdict = strictest(["Apache-2.0", "LicenseRef-hospital", ""])
    assert verdict.unknown == ("LicenseRef-hospital", UNKNOWN)
    assert verdict.expression == f"LicenseRef-hospital AND {UNKNOWN}"
    assert verdict.commercial is None


def test_non_commercial_beside_unknown_is_non_commercial() -> None:
    assert strictest(["CC-BY-NC-4.0", "LicenseRef-hospital"]).commercial is False


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("MIT OR GPL-3.0-only", "MIT"),
        ("MIT AND GPL-3.0-only", "GPL-3.0-only"),
        ("GPL-3.0-only WITH Classpath-exception-2.0", "GPL-3.0-only"),
        ("apache-2.0", "Apache-2.0"),
        ("GPL-3.0-only AND (MIT OR ISC)", "GPL-3.0-only"),
        ("(GPL-3.0-only AND MIT) OR ISC", "ISC"),
    ],
)
def test_expressions_count_as_spdx_says(expression: str, same: str) -> None:
    assert rank(expression) == rank(same)


def test_alternatives_keep_their_parentheses_when_joined() -> None:
    assert strictest(["MIT OR ISC", "Apache-2.0"]).expression == "Apache-2.0 AND (MIT OR ISC)"


@pytest.mark.parametrize(
    ("licenses", "joined"),
    [
        (["Apache-2.0 AND CC-BY-4.0", "Apache-2.0"], "Apache-2.0 AND CC-BY-4.0"),
        (["CC-BY-4.0 AND Apache-2.0", "(Apache-2.0 AND CC-BY-4.0)"], "Apache-2.0 AND CC-BY-4.0"),
        (["(MIT OR ISC) AND Apache-2.0", "Apache-2.0"], "Apache-2.0 AND (MIT OR ISC)"),
        (["(MIT AND ISC) OR Apache-2.0", "MIT"], "MIT AND ((MIT AND ISC) OR Apache-2.0)"),
        (["MIT OR ISC", "(MIT OR ISC)"], "MIT OR ISC"),
    ],
)
def test_a_license_is_named_once(licenses: list[str], joined: str) -> None:
    assert strictest(licenses).expression == joined


def test_no_license_at_all_is_unknown() -> None:
    assert strictest([]).expression == UNKNOWN
