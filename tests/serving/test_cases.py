"""Prediction of cases with several inputs, some of them missing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medfuse.cli.main import run
from medfuse.errors import CohortError
from medfuse.serving.inputs import table_cases
from medfuse.serving.predict import Predictor, load_bundle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def predictor(written) -> Predictor:
    return load_bundle(written["several"])


def test_monai_s_own_run_gives_the_same_probabilities_for_every_pattern(
    predictor: Predictor, written, cases: Path, run_rows, tmp_path: Path
) -> None:
    rows = run_rows(written["several"], cases, tmp_path)
    found = predictor.predict(table_cases([str(cases)], predictor.table))
    for row, prediction in zip(rows, found, strict=True):
        assert (prediction.case, ";".join(prediction.inputs)) == (row["case_id"], row["inputs"])
        for name, value in prediction.probabilities.items():
            assert value == pytest.approx(float(row[f"prob_{name}"]), abs=1e-5)


def test_the_command_takes_the_table_and_says_which_inputs_were_there(
    written, cases: Path, capsys
) -> None:
    assert run(["predict", str(written["several"]), str(cases / "cases.csv")]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert list(rows[0])[:5] == ["case", "status", "reason_code", "inputs", "predicted"]
    assert [row["inputs"] for row in rows][1:3] == ["xray;clinical", "ct;clinical"]


def test_json_has_the_inputs_as_a_list(written, cases: Path, capsys) -> None:
    assert run(["predict", str(written["several"]), str(cases), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found[4]["inputs"] == ["clinical"]


def test_mappings_of_paths_arrays_and_cells_give_what_the_table_gives(
    predictor: Predictor, cases: Path
) -> None:
    pixels = np.asarray(Image.open(cases / "xray" / "a.png"))
    given = [
        {
            "case_id": "mine",
            "ct": cases / "ct" / "scan-0.nii.gz",
            "xray": pixels,
            "clinical": {"age": 54, "sex": "F"},
        },
        {"xray": pixels, "clinical": {"age": 61, "sex": "M"}, "ct": None},
    ]
    found = predictor.predict(given)
    expected = predictor.predict(table_cases([str(cases)], predictor.table))
    assert [p.case for p in found] == ["mine", "case-1"]
    assert found[1].inputs == ("xray", "clinical")
    for one, other in zip(found, expected[:2], strict=True):
        assert dict(one.probabilities) == pytest.approx(dict(other.probabilities), abs=1e-5)


def test_a_broken_input_refuses_the_case_and_no_other(
    predictor: Predictor, cases: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    complete = {"ct": cases / "ct" / "scan-0.nii.gz", "clinical": {"age": 54}}
    bad, absent, good = predictor.predict(
        [
            {**complete, "xray": tmp_path / "bad.png"},
            {**complete, "xray": tmp_path / "absent.png"},
            complete,
        ]
    )
    assert (bad.status, bad.reason_code) == ("refused", "NOT_AN_IMAGE")
    assert bad.inputs == ("ct", "xray", "clinical")
    assert (absent.status, absent.reason_code) == ("refused", "FILE_NOT_FOUND")
    assert bad.probabilities == absent.probabilities == {}
    assert good.status == "ok"


def test_cells_that_are_no_number_refuse_the_case_without_saying_them(
    predictor: Predictor,
) -> None:
    (found,) = predictor.predict([{"clinical": {"age": "DOE^JANE"}}])
    assert (found.status, found.reason_code) == ("refused", "BAD_NUMBER")
    assert "DOE" not in found.reason


@pytest.mark.parametrize("given", [{}, {"case_id": "x", "ct": None}, {"clinical": {"age": None}}])
def test_a_case_with_no_input_is_refused(predictor: Predictor, given: dict) -> None:
    (found,) = predictor.predict([given])
    assert (found.status, found.reason_code, found.inputs) == ("refused", "NO_INPUT", ())


@pytest.mark.parametrize("batch_size", [None, 2, 5])
def test_values_do_not_depend_on_batches(
    predictor: Predictor, cases: Path, batch_size: int | None
) -> None:
    given = table_cases([str(cases)], predictor.table)
    found = predictor.predict(given, batch_size)
    alone = [predictor.predict([case])[0] for case in given]
    for one, other in zip(found, alone, strict=True):
        assert dict(one.probabilities) == pytest.approx(dict(other.probabilities), abs=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("scan.nii.gz", "one file, but a case of this bundle has the inputs ct, xray, clinical"),
        ({"mr": "x.nii"}, "no input 'mr' in this bundle, expected ct, xray, clinical"),
        ({"clinical": {"agee": 5}}, "no column 'agee', expected age, sex"),
        ({"ct": {"age": 5}}, "found a dict, expected a file or an array"),
        ({"clinical": np.zeros(3)}, "found a ndarray, expected cells of age, sex"),
    ],
)
def test_what_no_case_can_be_is_an_error_of_the_caller(
    predictor: Predictor, given, message: str
) -> None:
    with pytest.raises(CohortError, match=message):
        predictor.predict([given])


def test_a_bundle_of_one_input_takes_no_mapping(bundle: Path) -> None:
    with pytest.raises(CohortError, match="this bundle takes one file per case"):
        load_bundle(bundle).predict([{"image": "x.png"}])


def test_tables_that_cannot_be_used_are_an_error_in_one_line(
    written, cases: Path, tmp_path: Path, capsys
) -> None:
    (tmp_path / "t.csv").write_text("case_id,ct\na,1.nii\n")
    assert run(["predict", str(written["several"]), str(tmp_path / "t.csv")]) == 1
    assert "no column xray" in capsys.readouterr().err
    assert run(["predict", str(written["several"]), str(tmp_path)]) == 1
    assert "no table of cases" in capsys.readouterr().err
    both = [str(cases), str(cases / "cases.csv")]
    assert run(["predict", str(written["several"]), *both]) == 1
    assert "case_id in common" in capsys.readouterr().err
