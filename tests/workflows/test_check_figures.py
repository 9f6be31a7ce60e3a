"""The pictures of a check."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfuse.audit import Audit, audit
from medfuse.data import Case, Cohort, read_cohort
from medfuse.workflows import check_figures
from tests.audit.conftest import volume_file

from .test_check import write_cohort


@pytest.fixture
def found(tmp_path: Path) -> Audit:
    return audit(read_cohort(write_cohort(tmp_path), "image"), progress=False)


@pytest.mark.slow
def test_every_section_has_its_figures_as_files(found: Audit, tmp_path: Path) -> None:
    figures = check_figures.draw(found, tmp_path / "plots")
    counts = {section: len(drawn) for section, drawn in figures.items()}
    assert counts == {"classes": 3, "files": 2, "duplicates": 1, "shortcuts": 0}
    names = {path.stem for path in (tmp_path / "plots").iterdir()}
    assert names == {
        "class_counts", "class_pie", "samples", "sizes", "intensities", "duplicates_exact",
    }  # fmt: skip


@pytest.mark.slow
def test_copies_are_shown_side_by_side_with_name_class_and_part(
    found: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []
    draw = check_figures.plots.contact_sheet
    monkeypatch.setattr(
        check_figures.plots, "contact_sheet", lambda r, *more: rows.extend(r) or draw(r, *more)
    )
    check_figures.draw(found, tmp_path / "plots")
    ((one, two),) = rows
    assert (one[0], two[0]) == ("c0\na", "c3\nb")
    assert (one[1] == two[1]).all()
    assert one[1].shape == (64, 64)


@pytest.mark.slow
def test_copies_of_volumes_are_shown_by_the_slice_that_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [volume_file(tmp_path / f"{name}.nii", name) for name in ("RAS", "LPS")]
    rows = []
    draw = check_figures.plots.contact_sheet
    monkeypatch.setattr(
        check_figures.plots, "contact_sheet", lambda r, *more: rows.extend(r) or draw(r, *more)
    )
    cases = tuple(Case(str(n), {"image": file}, n, str(n)) for n, file in enumerate(files))
    found = audit(Cohort(cases, ("a", "b"), tmp_path), progress=False)
    check_figures.draw(found, tmp_path / "plots")
    assert [picture.shape for _, picture in rows[0]] == [(192, 192)] * 2


@pytest.mark.slow
def test_a_file_that_went_away_is_left_out(found: Audit, tmp_path: Path) -> None:
    for file in tmp_path.glob("*.png"):
        file.unlink()
    figures = check_figures.draw(found, tmp_path / "plots")
    assert len(figures["classes"]) == 2, "no samples can be shown"
