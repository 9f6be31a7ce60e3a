"""The page of a check says what the check found."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfuse.audit import Audit, Finding, audit
from medfuse.data import read_cohort
from medfuse.report import SectionPage
from medfuse.workflows.check_page import breakdown_table, check_page, verdict

from .test_check import write_cohort

FIGURES: dict[str, list] = {name: [] for name in ("classes", "files", "duplicates", "shortcuts")}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    cohort = write_cohort(tmp_path_factory.mktemp("cohort"))
    return audit(read_cohort(cohort, "image"), progress=False)


@pytest.fixture(scope="module")
def page(found: Audit) -> SectionPage:
    return check_page(found, FIGURES, "cases.csv", "today")


def section(page: SectionPage, anchor: str):
    return next(section for section in page.sections if section.anchor == anchor)


def with_levels(found: Audit, *levels: str) -> Audit:
    findings = [Finding(level, "CODE", 1, "text") for level in levels]
    return Audit(**{**vars(found), "findings": findings})


@pytest.mark.parametrize(
    ("levels", "text"),
    [
        ((), "nothing stops training; nothing misleads."),
        (("note",), "nothing stops training; nothing misleads."),
        (("fatal", "warning"), "1 thing stops training; 1 thing may mislead."),
        (("fatal", "fatal"), "2 things stop training; nothing misleads."),
    ],
)
def test_the_verdict_counts(found: Audit, levels: tuple[str, ...], text: str) -> None:
    assert verdict(with_levels(found, *levels)) == text


def test_findings_are_rows_with_their_level_in_words(found: Audit, page: SectionPage) -> None:
    (table,) = section(page, "findings").tables
    assert [row[2] for row in table.rows] == [finding.code for finding in found.findings]
    assert {row[0] for row in table.rows} <= {"stops training", "may mislead", "note"}
    assert "EXACT_DUPLICATES_ACROSS_LABELS" in {row[2] for row in table.rows}


def test_each_breakdown_is_a_table(found: Audit, page: SectionPage) -> None:
    tables = section(page, "cohort").tables
    assert [table.header[0] for table in tables] == ["class", "site"]
    for table in tables:
        assert {len(row) for row in table.rows} == {len(table.header)}
    (row,) = [row for row in breakdown_table("class", found.tables["class"]).rows if row[0] == "b"]
    assert row[:5] == ["b", "6", "6", "1", "64 x 64"]


def test_refused_files_and_duplicates_are_listed_by_case(page: SectionPage) -> None:
    codes, files = section(page, "refused").tables
    assert codes.rows == [["TRUNCATED", "1"]]
    assert files.rows == [["c5", "image", "TRUNCATED"]]
    (exact,) = section(page, "duplicates").tables
    assert exact.rows == [["c0, c3", "2", "a, b", "-", ""]]


def test_shortcuts_that_were_not_measured_say_why(page: SectionPage) -> None:
    assert "Not measured: class b has 4 different patients" in section(page, "shortcuts").text


def test_no_patient_and_no_path_is_on_the_page(page: SectionPage, found: Audit) -> None:
    assert "Doe" not in repr(page)
    assert str(Path(found.cohort.root)) not in repr(page)
