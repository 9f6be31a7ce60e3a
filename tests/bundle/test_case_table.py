from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from medfuse.bundle.case_table import CaseError, inputs_of, inputs_text, list_cases, read_cases

INPUTS = {"ct": None, "clinical": ["age", "% fat"]}


def write(folder: Path, *rows: str, header: str = "case_id,ct,age,% fat,label") -> Path:
    (folder / "cases.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8-sig")
    return folder / "cases.csv"


def test_items_hold_only_what_a_case_has(tmp_path: Path) -> None:
    path = write(tmp_path, "a,x/1.nii,54,20,yes", "b,,61,,no", "c,2.nii, ,,no")
    complete, no_ct, no_row = read_cases(path, INPUTS)
    assert complete["ct"] == str(tmp_path / "x/1.nii")
    assert json.loads(complete["clinical"]) == {"age": "54", "% fat": "20"}
    assert set(no_ct) == {"case_id", "clinical"}
    assert json.loads(no_ct["clinical"]) == {"age": "61"}
    assert set(no_row) == {"case_id", "ct"}


def test_a_case_with_no_input_at_all_is_refused_by_its_place_not_its_name(tmp_path: Path) -> None:
    write(tmp_path, "a,1.nii,,,", "DOE-JANE,,,,")
    with pytest.raises(CaseError, match="case 2 of .*no input at all") as caught:
        list_cases(tmp_path, inputs_text(INPUTS))
    assert caught.value.code == "NO_INPUT"
    assert "DOE" not in str(caught.value)


def test_a_missing_column_is_an_error_and_not_a_missing_input(tmp_path: Path) -> None:
    path = write(tmp_path, "a,1.nii,3", header="case_id,ct,age")
    with pytest.raises(ValueError, match="no column % fat, expected case_id, ct, age, % fat"):
        read_cases(path, INPUTS)


@pytest.mark.parametrize("second", ["a,2.nii,,,", ",2.nii,,,"])
def test_every_case_has_a_name_of_its_own(tmp_path: Path, second: str) -> None:
    path = write(tmp_path, "a,1.nii,,,", second)
    with pytest.raises(ValueError, match="case 2 has no case_id of its own"):
        read_cases(path, INPUTS)


def test_a_folder_without_a_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no input images in .*: no cases\.csv"):
        list_cases(tmp_path, inputs_text(INPUTS))


def test_short_rows_lack_what_they_do_not_say(tmp_path: Path) -> None:
    (case,) = read_cases(write(tmp_path, "a,1.nii"), INPUTS)
    assert set(case) == {"case_id", "ct"}


def test_columns_are_no_code_in_a_configuration() -> None:
    inputs = {"lab": ["$import os", "@x", "% fat"]}
    assert inputs_of(inputs_text(inputs)) == inputs
    assert inputs_text(inputs)[0] not in "$@%"


def test_errors_cross_processes_whole() -> None:
    copy = pickle.loads(pickle.dumps(CaseError("NO_INPUT", "text")))
    assert (copy.code, str(copy)) == ("NO_INPUT", "text")
