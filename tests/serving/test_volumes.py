"""Prediction of volumes: files, folders of DICOM slices, and arrays."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import dcm2niix
import nibabel
import numpy as np
import pydicom
import pytest

from medfuse.cli.main import run
from medfuse.serving.inputs import expand_inputs
from medfuse.serving.predict import Predictor, load_bundle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def predictor(written) -> Predictor:
    return load_bundle(written["sliced"])


def test_monai_s_own_run_gives_the_same_probabilities(
    predictor: Predictor, written, volumes: Path, run_rows, tmp_path: Path
) -> None:
    rows = run_rows(written["sliced"], volumes, tmp_path)
    found = predictor.predict([volumes / row["image"] for row in rows])
    for row, prediction in zip(rows, found, strict=True):
        for name, value in prediction.probabilities.items():
            assert value == pytest.approx(float(row[f"prob_{name}"]), abs=1e-5)
        assert prediction.inputs == ()


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_values_do_not_depend_on_batches_or_bad_neighbors(
    predictor: Predictor, volumes: Path, tmp_path: Path, batch_size: int | None
) -> None:
    good = sorted((volumes / "ward").iterdir())
    (tmp_path / "bad.nii.gz").write_bytes(b"no volume")
    found = predictor.predict([good[0], tmp_path / "bad.nii.gz", good[1]], batch_size)
    alone = [predictor.predict([path])[0] for path in good]
    assert [p.status for p in found] == ["ok", "refused", "ok"]
    assert found[1].probabilities == {}
    for one, other in zip([found[0], found[2]], alone, strict=True):
        assert dict(one.probabilities) == pytest.approx(dict(other.probabilities), abs=1e-5)


def test_a_folder_of_slices_is_one_case_for_the_command(
    written, synthetic, tmp_path: Path, capsys
) -> None:
    series = synthetic.write_series(tmp_path / "scan", 6)
    assert run(["predict", str(written["solid"]), str(series)]) == 0
    header, row, *others = capsys.readouterr().out.splitlines()
    assert header == "case,status,reason_code,predicted,prob_benign,prob_malignant"
    assert row.startswith("scan,ok,,")
    assert others == []


def test_one_of_several_series_can_be_named_and_otherwise_all_are_refused(
    written, synthetic, tmp_path: Path
) -> None:
    predictor = load_bundle(written["solid"])

    def other(dataset, number: int) -> None:
        dataset.SeriesInstanceUID += ".7"
        dataset.SOPInstanceUID += ".7"

    single = synthetic.write_series(tmp_path / "single", 5)
    both = synthetic.write_series(tmp_path / "both", 5)
    for path in synthetic.write_series(tmp_path / "more", 4, other).iterdir():
        path.rename(both / f"other-{path.name}")
    (refused,) = predictor.predict([both])
    assert (refused.status, refused.reason_code) == ("refused", "AMBIGUOUS_SERIES")
    key = _key(single)
    (chosen,) = predictor.predict([f"{both}::{key}"])
    (alone,) = predictor.predict([single])
    assert chosen.status == alone.status == "ok"
    assert dict(chosen.probabilities) == pytest.approx(dict(alone.probabilities), abs=1e-5)


def _key(folder: Path) -> str:
    from medfuse.data.dicom.scan import list_series

    (series,) = list_series(str(folder)).series
    return series.key


def test_no_identifier_of_a_refused_series_is_said(
    predictor: Predictor, synthetic, tmp_path: Path
) -> None:
    def gap(dataset, number: int) -> None:
        if number > 2:
            dataset.ImagePositionPatient[2] += 40

    series = synthetic.write_series(tmp_path / "scan", 6, gap)
    (found,) = predictor.predict([series])
    assert found.status == "refused"
    assert not [secret for secret in synthetic.SECRETS if secret in found.reason]


def test_arrays_give_what_their_files_give(predictor: Predictor, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(100, 80, (20, 22, 10)).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    (from_file,) = predictor.predict([tmp_path / "x.npy"])
    (from_array,) = predictor.predict([values])
    assert (from_array.case, from_array.status) == ("array-0", "ok")
    assert dict(from_array.probabilities) == dict(from_file.probabilities)


@pytest.mark.parametrize(
    ("write", "code"),
    [
        (lambda path: path.write_bytes(b""), "EMPTY_FILE"),
        (
            lambda path: nibabel.save(
                nibabel.Nifti1Image(np.zeros((8, 8, 8, 2), np.float32), np.eye(4)), path
            ),
            "FOUR_D",
        ),
        (lambda path: None, "FILE_NOT_FOUND"),
    ],
)
def test_refusals_carry_the_reader_s_code(
    predictor: Predictor, tmp_path: Path, write, code: str
) -> None:
    write(tmp_path / "x.nii.gz")
    (found,) = predictor.predict([tmp_path / "x.nii.gz"])
    assert (found.status, found.reason_code) == ("refused", code)


def test_volumes_below_a_folder_are_named_relative_to_it(
    volumes: Path, synthetic, tmp_path: Path
) -> None:
    synthetic.write_series(tmp_path / "in" / "p1" / "ct", 4)
    (tmp_path / "in" / "x.nii").write_bytes(b"")
    found = expand_inputs([str(tmp_path / "in"), str(volumes / "ward")], [".nii", ".nii.gz"], True)
    assert [name for name, _ in found] == ["p1/ct", "x.nii", "scan-0.nii.gz", "scan-1.nii.gz"]


def test_a_study_of_a_vendor_gets_one_answer_and_no_refusal(
    written, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The axial series; the localizer, six summary pages and three directories are counted."""
    study = shared_data / "dicom" / "ct_head_philips"
    assert run(["predict", str(written["solid"]), str(study)]) == 0
    captured = capsys.readouterr()
    _, row, *others = captured.out.splitlines()
    assert row.startswith("S2010,ok,,")
    assert others == []
    assert "DICOMDIR 3, LOCALIZER 1, SECONDARY_CAPTURE 6" in captured.err


def philips(data: Path, synthetic: ModuleType, folder: Path) -> None:
    for path in (data / "ct_head_philips" / "S2010").glob("I*"):
        shutil.copy(path, folder)


def first_of_ge(data: Path, synthetic: ModuleType, folder: Path) -> None:
    """The first time point of a 4D series: 15 of its 150 files."""
    seen = set()
    for path in sorted((data / "mr_epi_ge" / "mr_0004").glob("*.dcm")):
        place = tuple(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient)
        if place not in seen:
            seen.add(place)
            shutil.copy(path, folder)


def oblique(data: Path, synthetic: ModuleType, folder: Path) -> None:
    def turn(dataset, number: int) -> None:
        dataset.ImageOrientationPatient = [0.8, 0.6, 0, -0.36, 0.48, 0.8]
        step = np.cross([0.8, 0.6, 0], [-0.36, 0.48, 0.8]) * 3 * number
        dataset.ImagePositionPatient = [round(float(x), 6) for x in step]
        dataset.RescaleSlope = 1 + number

    synthetic.write_series(folder, 9, turn)


@pytest.mark.parametrize(
    "write", [pytest.param(philips, marks=pytest.mark.slow), first_of_ge, oblique]
)
def test_a_series_and_the_nifti_that_dcm2niix_makes_of_it_get_the_same_answer(
    written, write, synthetic, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """An independent converter: its file is written without our reader or affine."""
    real = write is not oblique
    data = request.getfixturevalue("shared_data") / "dicom" if real else tmp_path
    series = tmp_path / "series"
    series.mkdir()
    write(data, synthetic, series)
    command = [dcm2niix.bin, "-z", "n", "-f", "volume", "-o", str(tmp_path), str(series)]
    subprocess.run(command, check=True, capture_output=True)
    nifti, mirrored = tmp_path / "volume.nii", tmp_path / "mirrored.nii"
    image = nibabel.load(nifti)
    assert image.ndim == 3
    nibabel.save(nibabel.Nifti1Image(image.get_fdata()[::-1], image.affine), mirrored)
    found = load_bundle(written["sliced"]).predict([series, nifti, mirrored])
    assert {prediction.status for prediction in found} == {"ok"}
    odds = [np.log(p.probabilities["malignant"] / p.probabilities["benign"]) for p in found]
    assert odds[0] == pytest.approx(odds[1], abs=1e-4)  # at most a quarter of it in probability
    assert abs(odds[0] - odds[2]) > 1e-3


@pytest.mark.skipif(
    find_spec("highdicom") is None, reason="promise not shown: reports need medfuse[dicom]"
)
def test_the_report_of_a_series_has_its_probabilities_images_and_patient(
    written: dict[str, Path], synthetic: ModuleType, tmp_path: Path, capsys
) -> None:
    series = synthetic.write_series(tmp_path / "scan", 6)
    (series / "again.dcm").write_bytes((series / "000.dcm").read_bytes())
    out = tmp_path / "out"
    command = ["predict", str(written["solid"]), str(series), "--dicom-out"]
    assert run([*command, str(out)]) == 0
    (case,) = json.loads((out / "result.json").read_text(encoding="utf-8"))["cases"]
    report = pydicom.dcmread(out / case["report"])
    assert probabilities_in(report) == pytest.approx(case["probabilities"], rel=1e-5)
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    assert len(study.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 6
    assert report.PatientID == "MRN-4711"
    text = (out / "result.json").read_text(encoding="utf-8") + "".join(capsys.readouterr())
    assert not any(secret in text for secret in synthetic.SECRETS)


def probabilities_in(report: pydicom.Dataset) -> dict[str, float]:
    (measured,) = (
        item
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    )
    found = {}
    for group in measured.ContentSequence:
        values = {i.ConceptNameCodeSequence[0].CodeMeaning: i for i in group.ContentSequence}
        name = values["Finding"].ConceptCodeSequence[0].CodeMeaning
        value = values["Probability"].MeasuredValueSequence[0].NumericValue
        found[name] = float(value) / 100
    return found
