"""What a structured report says, and what it never says. The validators are `.ci/dicom_reports`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

highdicom = pytest.importorskip(
    "highdicom", reason="promise not shown: reports need medfuse[dicom]"
)

from medfuse.bundle.dicom_report.headers import ReportError, quiet, read_headers  # noqa: E402
from medfuse.bundle.dicom_report.result import NOTICE, ModelRecord, codes_of  # noqa: E402
from medfuse.bundle.dicom_report.tid1500 import (  # noqa: E402
    Answer,
    class_code,
    structured_report,
)

MODEL = ModelRecord("chest", "0.1.0", "ab" * 32)
ANSWER = Answer("ok", findings=("sick",), probabilities={"well": 0.2345678, "sick": 0.7654322})
Made = Callable[..., Dataset]


@pytest.fixture
def made(synthetic: ModuleType, tmp_path: Path) -> Made:
    """Write a series, report on it, and return the report as read from its file."""

    def make(
        change: Any = lambda dataset, number: None, answer: Answer = ANSWER, count: int = 3
    ) -> Dataset:
        with quiet():  # writing impossible values is said too
            folder = synthetic.write_series(tmp_path / "series", count, change)
        headers = read_headers([str(path) for path in sorted(folder.iterdir())])
        structured_report(headers, MODEL, answer).save_as(tmp_path / "report.dcm")
        return pydicom.dcmread(tmp_path / "report.dcm")

    return make


def items(dataset: Dataset) -> list[Dataset]:
    """Every content item below one, depth first."""
    found = []
    for item in dataset.get("ContentSequence", []):
        found += [item, *items(item)]
    return found


def said(report: Dataset, concept: str) -> list[Any]:
    """The values of the items with this concept name."""
    found = []
    for item in items(report):
        if item.get("ConceptNameCodeSequence", [Dataset()])[0].get("CodeMeaning") == concept:
            if "MeasuredValueSequence" in item:
                found.append(float(item.MeasuredValueSequence[0].NumericValue))
            elif "ConceptCodeSequence" in item:
                found.append(item.ConceptCodeSequence[0].CodeMeaning)
            else:
                found.append(item.get("TextValue") or item.get("UID"))
    return found


def test_a_report_says_class_probabilities_model_digest_and_that_it_is_research(made) -> None:
    report = made()
    *measured, class_of_case = said(report, "Finding")
    assert (measured, class_of_case) == (["well", "sick"], "sick")
    assert said(report, "Probability") == [23.4568, 76.5432]
    assert said(report, "Status") == ["ok"]
    assert said(report, "Algorithm Name") == ["chest"] * 2
    assert said(report, "Algorithm Version") == ["0.1.0"] * 2
    assert f"bundle SHA-256 {MODEL.digest}" in said(report, "Algorithm Parameters")
    assert NOTICE in said(report, "Comment")
    assert "not for clinical use" in report.SeriesDescription
    assert report.ContentQualification == "RESEARCH"
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")


def test_a_report_belongs_to_the_patient_and_the_study_of_its_images(made) -> None:
    def named(dataset: Dataset, number: int) -> None:
        dataset.PatientSex, dataset.StudyDate, dataset.StudyTime = "F", "20240229", "101530.5"
        dataset.StudyDescription, dataset.StudyID = "Head", "S-1"

    report = made(named)
    assert (report.PatientName, report.PatientID) == ("DOE^JANE", "MRN-4711")
    assert (report.PatientBirthDate, report.PatientSex) == ("19700102", "F")
    assert (report.AccessionNumber, report.StudyID) == ("ACC-99", "S-1")
    assert (report.StudyDate, report.StudyTime) == ("20240229", "101530.5")
    assert report.StudyDescription == "Head"
    assert report.Modality == "SR"


def test_every_image_that_was_judged_is_referenced_once(made, synthetic, tmp_path: Path) -> None:
    folder = synthetic.write_series(tmp_path / "series", 3)
    (folder / "copy.dcm").write_bytes((folder / "000.dcm").read_bytes())
    report = made()
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    evidence = [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence]
    library = [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in items(report)
        if item.ValueType == "IMAGE"
    ]
    truth = sorted(f"{synthetic.ROOT}9.{number}" for number in (1, 2, 3))
    assert sorted(evidence) == sorted(library) == truth
    assert study.StudyInstanceUID == report.StudyInstanceUID == f"{synthetic.ROOT}1"
    assert report.SeriesInstanceUID != series.SeriesInstanceUID


def test_two_reports_share_no_uid_but_that_of_the_device(made) -> None:
    first, second = made(), made()
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID
    tracked = [said(report, "Tracking Unique Identifier") for report in (first, second)]
    assert len({*tracked[0], *tracked[1]}) == 4
    assert said(first, "Device Observer UID") == said(second, "Device Observer UID")


def test_a_model_that_abstains_is_quoted_with_its_code_and_no_number(made) -> None:
    report = made(answer=Answer("abstained", "OUT_OF_DISTRIBUTION"))
    assert said(report, "Status") == ["abstained"]
    assert said(report, "Finding") == said(report, "Probability") == []
    assert "The model abstained: OUT_OF_DISTRIBUTION." in said(report, "Comment")
    assert any(MODEL.digest in text for text in said(report, "Comment"))


def test_labels_that_hold_are_findings_and_none_is_said_in_words(made) -> None:
    labels = {"a": 0.9, "b": 0.8, "c": 0.1}
    report = made(answer=Answer("ok", findings=("a", "b"), probabilities=labels))
    assert said(report, "Finding") == ["a", "b", "c", "a", "b"]
    report = made(answer=Answer("ok", probabilities=labels))
    assert "No class reached its threshold." in said(report, "Comment")


def test_a_tiny_probability_is_not_zero(made) -> None:
    report = made(answer=Answer("ok", findings=("a",), probabilities={"a": 1 - 3e-9, "b": 3e-9}))
    assert said(report, "Probability") == [100, pytest.approx(3e-7)]


def test_a_refused_case_has_no_report(made) -> None:
    with pytest.raises(ReportError, match="status refused has no report"):
        made(answer=Answer("refused", "TRUNCATED"))


def test_names_in_other_scripts_stay_what_they_are(made) -> None:
    def named(dataset: Dataset, number: int) -> None:
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.PatientName = "Müller^Jörg"

    report = made(named, Answer("ok", findings=("肺炎",), probabilities={"肺炎": 0.75}))
    assert str(report.PatientName) == "Müller^Jörg"
    assert said(report, "Finding") == ["肺炎", "肺炎"]
    assert report.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("No_findings", "No_findings"),
        ("ground-glass opacity", "abbdf4c91c"),
        ("a" * 17, "c3d4"),
        ("x\\y", "f3"),
    ],
)
def test_a_class_has_a_code_that_dicom_allows(name: str, value: str) -> None:
    code = class_code(name, {})
    assert len(code.value) <= 16
    assert "\\" not in code.value + code.meaning
    assert (code.value == name) == (name == value)
    assert code.scheme_designator == "99MEDFUSE"


@pytest.mark.parametrize(
    ("modality", "procedure"),
    [
        ("CT", "CT unspecified body region"),
        ("MR", "MRI unspecified body region"),
        ("US", "Imaging procedure"),
    ],
)
def test_the_procedure_reported_is_the_imaging(made, modality: str, procedure: str) -> None:
    def change(dataset: Dataset, number: int) -> None:
        dataset.Modality = modality

    assert said(made(change), "Procedure reported") == [procedure]


def test_images_that_say_little_have_a_report_with_what_they_say(made) -> None:
    def bare(dataset: Dataset, number: int) -> None:
        for keyword in ("PatientName", "PatientBirthDate", "AccessionNumber", "SliceThickness"):
            delattr(dataset, keyword)
        del dataset.FrameOfReferenceUID

    report = made(bare)
    assert report.PatientName == report.PatientBirthDate == report.StudyDate == ""
    assert report.PatientID == "MRN-4711"


def test_values_that_dicom_does_not_allow_are_left_empty_without_a_word(
    made, caplog: pytest.LogCaptureFixture
) -> None:
    def odd(dataset: Dataset, number: int) -> None:
        dataset.PatientName, dataset.PatientSex = "JANEDOE", "female"
        dataset.add_new("PatientBirthDate", "LO", "1970-01-02")
        dataset.add_new("StudyTime", "LO", "noon")

    with caplog.at_level(logging.DEBUG):
        report = made(odd)
    assert str(report.PatientName) == "JANEDOE"
    assert (report.PatientSex, report.PatientBirthDate, report.StudyTime) == ("", "", "")
    assert not any(word in caplog.text for word in ("JANE", "1970", "noon", "female"))


@pytest.mark.parametrize(
    ("keyword", "values", "code"),
    [
        ("PatientID", ("A", "B"), "MIXED_PATIENT"),
        ("PatientID", ("A\nB", "A\nB"), "BAD_PATIENT_ID"),
        ("StudyInstanceUID", ("1.2.3", "1.2.4"), "MIXED_STUDY"),
        ("StudyInstanceUID", ("", ""), "BAD_UID"),
        ("SeriesInstanceUID", ("../etc", "../etc"), "BAD_UID"),
    ],
)
def test_images_whose_report_could_belong_to_somebody_else_have_none(
    made, keyword: str, values: tuple[str, str], code: str
) -> None:
    def change(dataset: Dataset, number: int) -> None:
        dataset[keyword].value = values[number]

    with pytest.raises(ReportError) as caught:
        made(change, count=2)
    assert caught.value.code == code
    assert not any(value and value in str(caught.value) for value in values if len(value) > 1)


def test_what_highdicom_says_of_a_value_is_not_passed_on(
    made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("DOE^JANE is no name")

    monkeypatch.setattr("medfuse.bundle.dicom_report.tid1500.Comprehensive3DSR", fail)
    with pytest.raises(ReportError, match=r"cannot be built \(ValueError\)") as caught:
        made()
    assert caught.value.__cause__ is None
    assert caught.value.code == "NO_REPORT"


def test_a_class_has_the_standard_code_that_its_bundle_gives_it(synthetic, tmp_path: Path) -> None:
    metadata = {
        "medfuse": {"codes": {"sick": {"value": "1", "scheme": "99WARD", "meaning": "Ill"}}}
    }
    model = ModelRecord("chest", "0.1.0", "ab" * 32, codes_of(metadata))
    files = [str(file) for file in synthetic.write_series(tmp_path / "ct", 3).iterdir()]
    report = structured_report(read_headers(files), model, ANSWER)
    findings = [
        item.ConceptCodeSequence[0]
        for item in items(report)
        if item.ValueType == "CODE" and item.ConceptNameCodeSequence[0].CodeMeaning == "Finding"
    ]
    found = {(one.CodeValue, one.CodingSchemeDesignator, one.CodeMeaning) for one in findings}
    assert ("1", "99WARD", "Ill") in found
    assert ("well", "99MEDFUSE", "well") in found
    assert codes_of({"medfuse": {}}) == {}
