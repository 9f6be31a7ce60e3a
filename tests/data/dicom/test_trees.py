"""Trees of DICOM files as cohorts: which cases, whose they are, and what is left out."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from medfuse.audit import audit
from medfuse.config import CohortConfig, InputConfig, SplitConfig
from medfuse.data import Cohort, assign_roles, read_cohort, tally, write_cohort
from medfuse.data.dicom.scan import list_series
from medfuse.data.image_file import read_pixels
from medfuse.data.volume_file import read_volume
from medfuse.errors import CohortError

from .synthetic import (
    ROOT,
    SECRETS,
    STORAGE,
    ct_slice,
    mr_slice,
    projection,
    samples,
    set_pixels,
    write,
    write_series,
)

_UIDS = iter(range(10**6))


def series(folder: Path, count: int = 3, make: Callable[[int], Dataset] = ct_slice, **values):
    """Write a series of its own into ``folder``."""
    uid = f"{ROOT}66.{next(_UIDS)}"

    def change(dataset: Dataset, number: int) -> None:
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID = uid, f"{uid}.{number + 1}"
        for name, value in values.items():
            setattr(dataset, name, value)

    return write_series(folder, count, change, make)


def scout(folder: Path, **values: object) -> None:
    series(folder, 1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], **values)


def read(root: Path, kind: str = "auto", modality: str = "auto", **settings: object) -> Cohort:
    config = CohortConfig(path=str(root), **settings)
    return read_cohort(config, {"image": InputConfig(kind=kind, modality=modality)})


def ids(cohort: Cohort) -> list[str]:
    return [case.case_id for case in cohort.cases]


def patients(cohort: Cohort) -> list[int]:
    """Number the patients in the order in which they first occur."""
    names = list(dict.fromkeys(case.patient_id for case in cohort.cases))
    return [names.index(case.patient_id) for case in cohort.cases]


@pytest.mark.parametrize("kind", ["auto", "volume"])
def test_folders_without_a_diagnostic_series_are_no_cases_and_are_counted(
    tmp_path: Path, kind: str
) -> None:
    for patient in ("sick/p1", "sick/p2", "well/p3"):
        series(tmp_path / patient / "axial", PatientID=patient)
        scout(tmp_path / patient / "scout", PatientID=patient)
    series(tmp_path / "well" / "p3" / "pages", 2, ImageType=["DERIVED", "SECONDARY", "DOSE_INFO"])
    series(tmp_path / "well" / "p3" / "report", 1, SOPClassUID=STORAGE + "88.33")
    (tmp_path / "well" / "p3" / "axial" / "notes.txt").write_text("x")
    cohort = read(tmp_path, kind)
    assert ids(cohort) == ["sick/p1/axial", "sick/p2/axial", "well/p3/axial"]
    expected = {"LOCALIZER": 3, "SECONDARY_CAPTURE": 2, "NOT_AN_IMAGE": 1, "OTHER_FILE_SKIPPED": 1}
    assert expected.items() <= tally(cohort.events).items()


def test_the_index_of_a_medium_is_no_case_whatever_its_name(tmp_path: Path) -> None:
    for name in ("sick/p1", "well/p2"):
        series(tmp_path / name)
        index = ct_slice(9)
        index.SOPClassUID = "1.2.840.10008.1.3.10"
        write(index, tmp_path / name / "DIRFILE")
    cohort = read(tmp_path)
    assert ids(cohort) == ["sick/p1", "well/p2"]
    assert tally(cohort.events)["DICOMDIR"] == 2


def test_each_diagnostic_series_of_a_study_is_a_case_of_the_same_patient(tmp_path: Path) -> None:
    series(tmp_path / "sick" / "p1", PatientID="1")
    for path in (tmp_path / "sick" / "p1").iterdir():
        path.rename(path.with_suffix(""))
    series(tmp_path / "sick" / "p1", 4, PatientID="1")
    series(tmp_path / "well" / "p2", PatientID="2")
    cohort = read(tmp_path)
    names = [name.partition("::") for name in ids(cohort)]
    assert [name for name, _, _ in names] == ["sick/p1", "sick/p1", "well/p2"]
    assert [bool(key) for _, _, key in names] == [True, True, False]
    assert patients(cohort) == [0, 0, 1]
    shapes = {read_volume(case.inputs["image"]).header.shape[2] for case in cohort.cases[:2]}
    assert shapes == {3, 4}


def test_a_series_that_is_spread_over_folders_is_one_case(tmp_path: Path) -> None:
    series(tmp_path / "sick" / "p1" / "A", 6)
    (tmp_path / "sick" / "p1" / "B").mkdir()
    for path in sorted((tmp_path / "sick" / "p1" / "A").iterdir())[:3]:
        path.rename(tmp_path / "sick" / "p1" / "B" / path.name)
    series(tmp_path / "well" / "p2")
    cohort = read(tmp_path)
    assert ids(cohort) == ["sick/p1", "well/p2"]
    assert read_volume(cohort.cases[0].inputs["image"]).header.shape[2] == 6


def test_photographs_and_ultrasound_are_cases_by_file(tmp_path: Path) -> None:
    def picture(number: int, kind: str, modality: str) -> Dataset:
        dataset = projection(samples(number))
        dataset.SOPClassUID, dataset.Modality = STORAGE + kind, modality
        return dataset

    uid = f"{ROOT}67"
    for number, (kind, modality) in enumerate(
        (("6.1", "US"), ("77.1.4", "XC"), ("77.1.5.1", "OP"))
    ):
        for copy in range(2):
            dataset = picture(number, kind, modality)
            dataset.SeriesInstanceUID = f"{uid}.{number}"
            dataset.SOPInstanceUID = f"{uid}.{number}.{copy}"
            write(dataset, tmp_path / "sick" / modality / str(copy))
    series(tmp_path / "well" / "p2", 1, PatientID="2")
    expected = [f"sick/{name}/{copy}" for name in ("OP", "US", "XC") for copy in (0, 1)]
    assert ids(read(tmp_path)) == [*expected, "well/p2/000.dcm"]


def test_every_series_decides_for_itself(tmp_path: Path) -> None:
    """A projection that sorts before the slices does not make pictures of them."""
    for number in range(2):
        dataset = projection(samples(number))
        dataset.SeriesInstanceUID = f"{ROOT}68"
        dataset.SOPInstanceUID = f"{ROOT}68.{number}"
        write(dataset, tmp_path / "sick" / "p1" / "0-chest" / str(number))
    series(tmp_path / "sick" / "p1" / "axial")
    series(tmp_path / "well" / "p2")
    mixed = read(tmp_path)
    assert ids(mixed) == ["sick/p1/0-chest/0", "sick/p1/0-chest/1", "sick/p1/axial", "well/p2"]
    volumes = read(tmp_path, "volume")
    assert ids(volumes) == ["sick/p1/axial", "well/p2"]
    assert tally(volumes.events)["NOT_SLICES"] == 2


def test_a_modality_that_is_asked_for_leaves_out_others(tmp_path: Path) -> None:
    for name in ("sick/p1", "well/p2"):
        series(tmp_path / name / "ct")
        series(tmp_path / name / "mr", 4, mr_slice)
    assert len(ids(read(tmp_path))) == 4
    only = read(tmp_path, modality="MR")
    assert ids(only) == ["sick/p1/mr", "well/p2/mr"]
    assert tally(only.events)["OTHER_MODALITY"] == 6


def test_what_cannot_be_read_is_a_case_that_is_refused_by_name(tmp_path: Path) -> None:
    series(tmp_path / "sick" / "p1")
    series(tmp_path / "well" / "p2")
    (tmp_path / "well" / "p3").mkdir()
    (tmp_path / "well" / "p3" / "1.dcm").write_bytes(b"text")
    (tmp_path / "well" / "p2" / "cut.dcm").write_bytes(b"text")
    cohort = read(tmp_path)
    assert ids(cohort) == ["sick/p1", "well/p2", "well/p3"]
    with pytest.raises(ValueError, match="NO_PREAMBLE"):
        read_volume(cohort.cases[2].inputs["image"])


def test_a_class_of_localizers_says_what_is_there(tmp_path: Path) -> None:
    series(tmp_path / "sick" / "p1")
    scout(tmp_path / "well" / "p2")
    with pytest.raises(CohortError, match=r"well: holds no image, .* Left out: LOCALIZER 1"):
        read(tmp_path)


def test_pipes_and_linked_folders_of_a_tree_are_not_opened(tmp_path: Path) -> None:
    series(tmp_path / "sick" / "p1")
    series(tmp_path / "well" / "p2")
    os.mkfifo(tmp_path / "well" / "p2" / "pipe.dcm")
    (tmp_path / "well" / "loop").symlink_to(tmp_path / "well")
    cohort = read(tmp_path)
    assert ids(cohort) == ["sick/p1", "well/p2"]
    assert tally(cohort.events)["LINKED_FOLDER_SKIPPED"] == 1


def test_a_listing_of_parts_is_the_listing_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import medfuse.data.dicom_tree as module

    for name in ("sick/p1", "sick/p2", "well/p3"):
        series(tmp_path / name, 5, PatientID=name)
        scout(tmp_path / name / "scout", PatientID=name)
    whole = read(tmp_path)
    monkeypatch.setattr(module, "_AT_ONCE", 4)
    parts = read(tmp_path)
    assert parts.cases == whole.cases
    assert tally(parts.events) == tally(whole.events)


def test_a_file_that_kills_the_lister_costs_itself_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medfuse.data.dicom.refusal import refusal
    from medfuse.data.dicom.sandbox import shared_reader

    series(tmp_path / "sick" / "p1")
    series(tmp_path / "well" / "p2")
    write(ct_slice(0), tmp_path / "well" / "p9" / "hostile.dcm")
    reader = shared_reader()
    real = reader.list_files

    def fragile(files, key):
        if any("hostile" in file for file in files):
            raise refusal("DECODER_CRASHED", "SIGSEGV")
        return real(files, key)

    monkeypatch.setattr(type(reader), "list_files", lambda _, files, key: fragile(files, key))
    assert ids(read(tmp_path)) == ["sick/p1", "well/p2", "well/p9"]


def test_studies_of_vendors_are_their_diagnostic_series(tmp_path: Path, shared_data: Path) -> None:
    shutil.copytree(shared_data / "dicom" / "ct_head_philips", tmp_path / "a" / "philips")
    shutil.copytree(shared_data / "dicom" / "ct_head_ge_tilted", tmp_path / "b" / "ge")
    cohort = read(tmp_path)
    assert ids(cohort) == ["a/philips/S2010", "b/ge"]
    expected = {"DICOMDIR": 3, "LOCALIZER": 1, "SECONDARY_CAPTURE": 6}
    assert expected.items() <= tally(cohort.events).items()


# whose they are


def six(root: Path, patient: Callable[[int], str]) -> Path:
    for number in range(6):
        series(root / ("sick" if number < 3 else "well") / f"s{number}", PatientID=patient(number))
    return root


def test_series_of_one_patient_are_one_patient(tmp_path: Path) -> None:
    cohort = read(six(tmp_path, lambda number: f"MRN-{number % 3}"))
    assert patients(cohort) == [0, 1, 2, 0, 1, 2]
    events = tally(cohort.events)
    assert events["PATIENT_OF_DICOM"] == 6
    assert "NO_PATIENT" not in events
    split = assign_roles(cohort, SplitConfig(test=0.3, validation=0.3))
    sides = {case.patient_id: set() for case in split.cases}
    for case in split.cases:
        sides[case.patient_id].add(case.role)
    assert all(len(roles) == 1 for roles in sides.values())
    assert tally(split.events)["PATIENT_WITH_SEVERAL_LABELS"] == 3


def test_the_check_flags_a_patient_in_several_classes_and_parts(tmp_path: Path) -> None:
    for part, patient in (("train", "1"), ("test", "1")):
        for label in ("sick", "well"):
            series(tmp_path / part / label / "a", PatientID=patient)
            series(tmp_path / part / label / "b", PatientID=f"{part}{label}")
    found = audit(read(tmp_path), progress=False)
    codes = {finding.code: finding.count for finding in found.findings}
    assert codes["PATIENT_WITH_SEVERAL_LABELS"] == 1
    assert codes["PATIENT_ACROSS_PARTS"] == 1
    assert "NO_PATIENT" not in codes


def test_the_check_says_what_was_left_out_and_why(tmp_path: Path) -> None:
    for name in ("a", "b"):
        series(tmp_path / "scans" / name / "axial")
        scout(tmp_path / "scans" / name / "scout")
        (tmp_path / "scans" / name / "notes.txt").write_text("x")
    (tmp_path / "x.csv").write_text("image,label\nscans/a,0\nscans/b,1\n")
    found = audit(read(tmp_path / "x.csv"), progress=False)
    texts = {finding.code: finding.text for finding in found.findings}
    assert texts["LOCALIZER"] == "2 files left out: a localizer (LOCALIZER)."
    assert "SKIPPED" not in texts
    assert {"LOCALIZER": 2, "NOT_DICOM": 2}.items() <= found.summary()["events"].items()


def test_what_is_left_out_of_class_folders_is_counted_once(tmp_path: Path) -> None:
    for name in ("sick/p1", "well/p2"):
        series(tmp_path / name)
        scout(tmp_path / "more")
        (tmp_path / "more" / "000.dcm").rename(tmp_path / name / "scout")
    (tmp_path / "more").rmdir()
    found = audit(read(tmp_path), progress=False)
    assert [f.count for f in found.findings if f.code == "LOCALIZER"] == [2]
    assert found.summary()["events"]["LOCALIZER"] == 2


def test_one_patient_in_all_files_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "medfuse"):
        cohort = read(six(tmp_path, lambda number: "MRN-1"))
    assert patients(cohort) == [0] * 6
    assert "all 6 cases have one PatientID" in caplog.text


@pytest.mark.parametrize("name", ["ANONYMIZED", "anonymous", "de-identified", "000000", "", "XXX"])
def test_a_placeholder_names_no_patient(tmp_path: Path, name: str) -> None:
    cohort = read(six(tmp_path, lambda number: name))
    assert patients(cohort) == list(range(6))
    assert tally(cohort.events)["NO_PATIENT"] == 6


def test_a_pattern_wins_over_the_files(tmp_path: Path) -> None:
    cohort = read(six(tmp_path, lambda number: "MRN-1"), group_pattern=r"s(\d)")
    assert patients(cohort) == list(range(6))
    assert "PATIENT_OF_DICOM" not in tally(cohort.events)


def test_a_column_wins_over_the_files_and_blank_cells_take_theirs(tmp_path: Path) -> None:
    six(tmp_path / "scans", lambda number: f"MRN-{number % 2}")
    rows = [
        f"scans/{'sick' if n < 3 else 'well'}/s{n},{'sick' if n < 3 else 'well'}" for n in range(6)
    ]
    named = [f"{row},{'same' if n < 2 else ''}" for n, row in enumerate(rows)]
    (tmp_path / "bare.csv").write_text("\n".join(["image,label", *rows]))
    (tmp_path / "named.csv").write_text("\n".join(["image,label,patient_id", *named]))
    assert patients(read(tmp_path / "bare.csv")) == [0, 1, 0, 1, 0, 1]
    assert patients(read(tmp_path / "named.csv")) == [0, 0, 1, 2, 1, 2]


def test_a_row_may_name_a_study_or_one_of_its_series(tmp_path: Path) -> None:
    for name in ("a", "b"):
        series(tmp_path / name / "axial", PatientID=name)
        scout(tmp_path / name / "scout", PatientID=name)
    series(tmp_path / "c" / "one", PatientID="c")
    series(tmp_path / "c" / "two", 4, PatientID="c")
    key = next(s.key for s in list_series(str(tmp_path / "c")).series if s.count == 4)
    (tmp_path / "x.csv").write_text(f"image,label\na,0\nb,1\nc::{key},0\n")
    cohort = read(tmp_path / "x.csv")
    shapes = [read_volume(case.inputs["image"]).header.shape[2] for case in cohort.cases]
    assert shapes == [3, 3, 4]
    assert patients(cohort) == [0, 1, 2]


def test_a_row_may_name_the_study_of_one_projection(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        write(projection(samples(number)), tmp_path / name / "study" / "chest")
        scout(tmp_path / name / "scout")
    (tmp_path / "x.csv").write_text("image,label\na,0\nb,1\n")
    reason = "promise not shown: the kind of a file is told beside torch, which is absent"
    kind = pytest.importorskip("medfuse.preprocessing.kind", reason=reason)
    for case in read(tmp_path / "x.csv").cases:
        assert kind.kind_of(case.inputs["image"]) == "image"
        assert read_pixels(case.inputs["image"])[1].modality == "DX"


def test_inputs_of_several_patients_in_one_case_are_counted(tmp_path: Path) -> None:
    series(tmp_path / "ct", PatientID="1")
    series(tmp_path / "mr", 3, mr_slice, PatientID="2")
    (tmp_path / "x.csv").write_text("case_id,ct,mr,label\na,ct,mr,0\nb,ct,,1\n")
    inputs = {name: InputConfig(kind="volume") for name in ("ct", "mr")}
    cohort = read_cohort(CohortConfig(path=str(tmp_path / "x.csv")), inputs)
    assert tally(cohort.events)["SEVERAL_PATIENTS_IN_CASE"] == 1
    assert patients(cohort) == [0, 0]


def test_no_identifier_of_a_patient_comes_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sick/a", "sick/b", "well/c", "well/d"):
        series(tmp_path / "in" / name)
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.DEBUG):
        cohort = read(Path("in"))
    write_cohort(cohort, "cohort.csv", {"seed": 0})
    told = repr(cohort) + caplog.text + Path("cohort.csv").read_text()
    assert not [secret for secret in SECRETS if secret in told]


def test_the_hash_of_a_patient_depends_on_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    six(tmp_path / "in", lambda number: "12345")
    found = []
    for machine in ("one", "one", "two"):
        monkeypatch.setenv("MEDFUSE_CACHE", str(tmp_path / machine))
        found.append({case.patient_id for case in read(tmp_path / "in").cases})
    assert found[0] == found[1] != found[2]


def test_the_split_depends_on_the_patients_and_not_on_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    six(tmp_path / "in", lambda number: f"MRN-{number % 3}")
    roles = []
    for machine in ("one", "two"):
        monkeypatch.setenv("MEDFUSE_CACHE", str(tmp_path / machine))
        split = assign_roles(read(tmp_path / "in"), SplitConfig(test=0.3, validation=0.3))
        roles.append([case.role for case in split.cases])
    assert roles[0] == roles[1]


def test_two_patients_whose_series_have_one_name_are_two_cases(tmp_path: Path) -> None:
    for name in ("sick/p1", "well/p2", "well/p3"):
        write_series(tmp_path / name, change=lambda d, n, name=name: setattr(d, "PatientID", name))
    cohort = read(tmp_path)
    assert ids(cohort) == ["sick/p1", "well/p2", "well/p3"]
    assert patients(cohort) == [0, 1, 2]


def test_color_pictures_of_a_folder_are_cases(tmp_path: Path) -> None:
    import numpy as np

    for number, name in enumerate(("sick/a", "well/b")):
        dataset = projection(samples(number))
        dataset.SOPClassUID, dataset.Modality = STORAGE + "77.1.4", "XC"
        set_pixels(dataset, np.full((8, 8, 3), number, np.uint8))
        write(dataset, tmp_path / name)
    assert ids(read(tmp_path)) == ["sick/a", "well/b"]
