"""`medfuse predict --dicom-out`: reports and ``result.json`` in a folder of their own."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pydicom
import pytest
from PIL import Image

from medfuse.cli.main import run
from medfuse.errors import ConfigError, OutputError
from medfuse.serving import Prediction
from medfuse.serving import dicom_results as results
from medfuse.serving.dicom_results import (
    JudgedCase,
    dicom_files,
    model_record,
    require_reports,
    write_reports,
)
from medfuse.storage import sha256_file

REPOSITORY = Path(__file__).resolve().parents[2]
needs_highdicom = pytest.mark.skipif(
    find_spec("highdicom") is None, reason="promise not shown: reports need medfuse[dicom]"
)


@pytest.fixture
def ward(tmp_path: Path, synthetic: ModuleType) -> Path:
    """A projection, one of two patients' that is cut off, and a picture that is not DICOM."""
    folder = tmp_path / "ward"
    whole = synthetic.write(synthetic.projection(synthetic.samples(1)), folder / "a.dcm")
    (folder / "b.dcm").write_bytes(whole.read_bytes()[:-100])
    Image.new("L", (30, 30), 90).save(folder / "c.png")
    return folder


def result_of(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


@pytest.mark.slow
@needs_highdicom
def test_every_case_is_in_the_result_and_only_dicom_with_an_answer_has_a_report(
    bundle: Path, ward: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(["predict", str(bundle), str(ward), "--json", "--dicom-out", str(out)]) == 3
    printed = json.loads(capsys.readouterr().out)
    found = result_of(out)
    said = {case["case"]: (case["status"], case["report_status"]) for case in found["cases"]}
    assert said == {
        "a.dcm": ("ok", "WRITTEN"),
        "b.dcm": ("refused", "REFUSED"),
        "c.png": ("ok", "NOT_DICOM"),
    }
    for row, case in zip(printed, found["cases"], strict=True):
        assert {**case, **row} == case
    assert [case["report"] for case in found["cases"]] == ["0001.dcm", None, None]
    assert found["cases"][1]["reason_code"] == "TRUNCATED"
    assert found["cases"][1]["probabilities"] == {}
    assert sorted(p.name for p in out.iterdir()) == ["0001.dcm", "result.json"]
    assert found["model"]["bundle_sha256"] == sha256_file(bundle / "SHA256SUMS")
    assert "Not for clinical use" in found["notice"]


@needs_highdicom
def test_a_key_names_the_series_whose_images_are_referenced(
    synthetic: ModuleType, tmp_path: Path
) -> None:
    synthetic.write_series(tmp_path, 3)
    other = synthetic.projection(synthetic.samples(1))
    other.SeriesInstanceUID, other.SOPInstanceUID = f"{synthetic.ROOT}5", f"{synthetic.ROOT}6"
    synthetic.write(other, tmp_path / "other.dcm")
    from medfuse.data.dicom.scan import list_series

    for series in list_series(str(tmp_path)).series:
        assert dicom_files(f"{tmp_path}::{series.key}") == series.files


@needs_highdicom
def test_a_folder_that_holds_something_is_refused_before_anything_is_computed(
    bundle: Path, ward: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "result.json").write_text("old")
    assert run(["predict", str(bundle), str(ward), "--dicom-out", str(out)]) == 1
    assert "not empty, expected a new or empty folder" in capsys.readouterr().err
    assert (out / "result.json").read_text() == "old"
    with pytest.raises(OutputError, match="a file, expected a new or empty folder"):
        require_reports(out / "result.json")


def test_without_highdicom_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medfuse.serving.dicom_results.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs highdicom.*Install medfuse\[dicom\]"):
        require_reports(tmp_path)


@needs_highdicom
def test_an_abstention_is_a_report_without_numbers_and_a_status_with_them(
    bundle: Path, ward: Path, tmp_path: Path
) -> None:
    said = Prediction(
        case="a.dcm",
        status="abstained",
        reason_code="OUT_OF_DISTRIBUTION",
        probabilities={"well": 0.25, "sick": 0.75},
    )
    model = model_record(bundle, {"name": "x", "version": "1"})
    case = JudgedCase((str(ward / "a.dcm"),), said, ("sick",))
    assert write_reports(tmp_path / "out", model, [case]) == 0
    (result,) = result_of(tmp_path / "out")["cases"]
    assert (result["status"], result["predicted"]) == ("abstained", "")
    assert result["probabilities"] == {"well": 0.25, "sick": 0.75}
    report = pydicom.dcmread(tmp_path / "out" / result["report"])
    *_, evaluations = report.ContentSequence
    assert evaluations.ContentSequence[0].ConceptCodeSequence[0].CodeMeaning == "abstained"
    assert "Imaging Measurements" not in str(report)


@pytest.mark.slow
@needs_highdicom
def test_an_answer_without_the_report_asked_for_is_named_and_counted(
    bundle: Path, synthetic: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = synthetic.projection(synthetic.samples(1))
    image.StudyInstanceUID = ""
    synthetic.write(image, tmp_path / "a.dcm")
    out = tmp_path / "out"
    assert run(["predict", str(bundle), str(tmp_path / "a.dcm"), "--dicom-out", str(out)]) == 3
    (case,) = result_of(out)["cases"]
    assert (case["status"], case["report"], case["report_status"]) == ("ok", None, "BAD_UID")
    assert "no report of a.dcm: BAD_UID" in capsys.readouterr().err


@needs_highdicom
def test_images_of_two_patients_in_one_case_have_no_report(
    bundle: Path, synthetic: ModuleType, tmp_path: Path
) -> None:
    files = []
    for number, patient in enumerate(("A", "B")):
        image = synthetic.projection(synthetic.samples(number))
        image.PatientID, image.SOPInstanceUID = patient, f"{synthetic.ROOT}8.{number}"
        files.append(str(synthetic.write(image, tmp_path / f"{patient}.dcm")))
    said = Prediction(case="both", status="ok", predicted="sick", probabilities={"sick": 1.0})
    model = model_record(bundle, {"name": "x", "version": "1"})
    case = JudgedCase(tuple(files), said, ("sick",))
    assert write_reports(tmp_path / "out", model, [case]) == 1
    assert result_of(tmp_path / "out")["cases"][0]["report_status"] == "MIXED_PATIENT"
    alone = replace(case, references=(files[0],))
    assert write_reports(tmp_path / "one", model, [alone]) == 0


def test_every_code_of_a_missing_report_is_explained() -> None:
    page = (REPOSITORY / "docs" / "dicom.md").read_text(encoding="utf-8")
    table = page.partition("## Reports")[2].partition("## Refusals")[0]
    sources = [*(REPOSITORY / "medfuse/bundle/dicom_report").glob("*.py"), results.__file__]
    text = "".join(Path(source).read_text(encoding="utf-8") for source in sources)
    codes = set(re.findall(r'ReportError\(\s*"([A-Z_]+)"', text))
    codes |= set(re.findall(r'"(MIXED_[A-Z]+|REFUSED|NOT_DICOM|WRITTEN)"', text))
    assert {"BAD_UID", "MIXED_STUDY", "NO_REPORT", "WRITTEN"} <= codes
    assert all(f"`{code}`" in table for code in codes)
