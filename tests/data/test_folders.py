import os
from pathlib import Path

import pytest

from medfuse.config import CohortConfig, InputConfig
from medfuse.data import read_cohort, tally
from medfuse.errors import CohortError


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def _read(path: Path, **settings):
    return read_cohort(CohortConfig(path=str(path), **settings))


@pytest.mark.parametrize("stray", ["0.png", "train/0.png"])
def test_an_image_beside_the_class_folders_is_counted(tmp_path, stray, caplog):
    folder = "train/" if "/" in stray else ""
    cohort = _read(_touch(tmp_path, f"{folder}a/1.png", f"{folder}b/2.png", stray, "README.txt"))
    assert len(cohort.cases) == 2
    assert tally(cohort.events)["IMAGE_WITHOUT_CLASS_SKIPPED"] == 1
    assert "1 images lie in no class folder" in caplog.text


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["01", "02"], ("01", "02")),
        (["00", "0", "1"], ("0", "00", "1")),
        (["10", "9"], ("9", "10")),
    ],
)
def test_number_labels_keep_their_text(tmp_path, names, expected):
    cohort = _read(_touch(tmp_path, *(f"{name}/1.png" for name in names)))
    assert cohort.classes == expected
    assert all(c.case_id == f"{cohort.classes[c.label]}/1.png" for c in cohort.cases)


def test_a_file_name_of_stray_bytes_is_named_in_escapes(tmp_path):
    _touch(tmp_path, "a/1.png", "b/2.png")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "b") + b"/\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(CohortError, match=r"b/\\udcff\.png: its name is not UTF-8") as caught:
        _read(tmp_path)
    str(caught.value).encode()


def _dicom(root: Path, *names: str, modality: str = "CT") -> Path:
    """Write small valid DICOM files, a series for each folder."""
    import hashlib

    import numpy as np
    from pydicom.dataset import FileDataset, FileMetaDataset

    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        kind = "1.1" if modality == "DX" else "2"
        meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.{kind}"
        meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
        data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, f"1.2.3.{number}"
        folder = int(hashlib.sha256(str(path.parent).encode()).hexdigest()[:8], 16)
        data.SeriesInstanceUID, data.Modality = f"1.2.4.{folder}", modality
        data.Rows = data.Columns = 4
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation, data.SamplesPerPixel = 15, 0, 1
        data.PhotometricInterpretation = "MONOCHROME2"
        data.PixelData = np.zeros((4, 4), np.uint16).tobytes()
        data.save_as(path)
    return root


def _inputs(cohort) -> list[str]:
    return [case.case_id for case in cohort.cases]


def test_a_folder_of_one_series_is_a_case(tmp_path):
    _dicom(tmp_path, "a/p1/IM1", "a/p1/IM2", "a/p2/x.dcm", "a/p2/y.dcm", "b/p3/s/1", "b/p3/s/2")
    _touch(tmp_path, "a/p1/DICOMDIR", "a/p1/notes.txt")
    cohort = _read(tmp_path)
    assert _inputs(cohort) == ["a/p1", "a/p2", "b/p3/s"]
    assert tally(cohort.events)["OTHER_FILE_SKIPPED"] == 2
    assert cohort.cases[0].inputs["image"] == str(tmp_path / "a/p1")


def test_each_file_of_projections_or_of_images_is_a_case(tmp_path):
    _dicom(tmp_path / "x", "a/p1/1", "a/p1/2", "b/p2/1", modality="DX")
    assert _inputs(_read(tmp_path / "x")) == ["a/p1/1", "a/p1/2", "b/p2/1"]
    _dicom(tmp_path / "ct", "a/p1/1", "a/p1/2", "b/p2/1")
    assert _inputs(_read(tmp_path / "ct")) == ["a/p1", "b/p2/1"]
    config = CohortConfig(path=str(tmp_path / "ct"))
    images = read_cohort(config, {"image": InputConfig(kind="image")})
    assert _inputs(images) == ["a/p1/1", "a/p1/2", "b/p2/1"]
    volumes = read_cohort(config, {"image": InputConfig(kind="volume")})
    assert _inputs(volumes) == ["a/p1", "b/p2"]


def test_files_directly_in_a_class_folder_are_pictures_unless_volumes_are_asked_for(tmp_path):
    _dicom(tmp_path, "a/1", "a/2", "b/1", "b/2", "b/p/3", "b/p/4")
    assert _inputs(_read(tmp_path)) == ["a/1", "a/2", "b/1", "b/2", "b/p"]
    config = CohortConfig(path=str(tmp_path))
    volumes = read_cohort(config, {"image": InputConfig(kind="volume")})
    first, second, last = _inputs(volumes)
    assert (first, second, last.partition("::")[0]) == ("a", "b/p", "b")


def test_the_voxels_of_a_header_are_no_file_of_their_own(tmp_path):
    _touch(tmp_path, "a/1.mhd", "a/1.raw", "a/2.mha", "b/3.mhd", "b/3.zraw", "b/4.raw")
    cohort = _read(tmp_path)
    assert _inputs(cohort) == ["a/1.mhd", "a/2.mha", "b/3.mhd"]
    skipped = [Path(e.subject).name for e in cohort.events if e.code == "OTHER_FILE_SKIPPED"]
    assert skipped == ["4.raw"]


def test_volume_files_are_cases_and_other_packed_files_are_not(tmp_path):
    _touch(tmp_path, "a/1.nii.gz", "a/2.NII", "b/3.nrrd", "b/4.gz", "b/5.tar.gz")
    cohort = _read(tmp_path)
    assert _inputs(cohort) == ["a/1.nii.gz", "a/2.NII", "b/3.nrrd"]
    assert tally(cohort.events)["OTHER_FILE_SKIPPED"] == 2
