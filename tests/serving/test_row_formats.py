"""Rows are written one by one, and the whole is what a reader of the format expects."""

from __future__ import annotations

import csv
import io
import json

import pytest

from medfuse.bundle.dicom_report.result import ModelRecord, case_result, result_document
from medfuse.serving.prediction import Prediction
from medfuse.serving.row_formats import Columns, csv_text, json_text, result_text
from tests.serving.test_prediction import BAD, OK


def test_the_table_is_blank_where_an_image_was_refused() -> None:
    text = "".join(csv_text([OK, BAD], Columns(["x,y", "z"])))
    assert list(csv.reader(io.StringIO(text))) == [
        ["case", "status", "reason_code", "predicted", "prob_x,y", "prob_z"],
        ["a", "ok", "", "x,y", "0.75", "0.30000000000000004"],
        ["b", "refused", "TRUNCATED", "", "", ""],
    ]


def test_inputs_sets_and_distances_have_columns_where_there_are_any() -> None:
    text = "".join(csv_text([OK, BAD], Columns(["z"], with_inputs=True, judged=True)))
    assert list(csv.reader(io.StringIO(text))) == [
        ["case", "status", "reason_code", "inputs", "predicted", "prob_z", "set", "distance"],
        ["a", "ok", "", "ct;age", "x,y", "0.30000000000000004", "x,y;z", "0.5"],
        ["b", "refused", "TRUNCATED", "", "", "", "", ""],
    ]


@pytest.mark.parametrize("rows", [[], [OK], [OK, BAD]])
def test_a_json_list_reads_as_if_written_at_once(rows) -> None:
    assert "".join(json_text(one.to_dict() for one in rows)) == json.dumps(
        [one.to_dict() for one in rows], indent=2
    )


@pytest.mark.parametrize("rows", [[], [OK, BAD]])
def test_a_result_is_written_case_by_case_as_at_once(rows) -> None:
    model = ModelRecord("chest", "0.1.0", "ab")
    cases = [case_result(one.to_dict(), "", "NOT_ASKED_FOR") for one in rows]
    expected = json.dumps(result_document(model, cases), indent=2) + "\n"
    assert "".join(result_text(rows, model)) == expected


def test_no_cell_is_a_formula_to_a_spreadsheet() -> None:
    one = Prediction(case='=HYPERLINK("x")', status="ok", predicted="+1", probabilities={"+1": 0.5})
    header, row = "".join(csv_text([one], Columns(["+1"]))).splitlines()
    assert header.endswith("predicted,prob_+1")
    assert row == '"\'=HYPERLINK(""x"")",ok,,\'+1,0.5'
