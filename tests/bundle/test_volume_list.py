from __future__ import annotations

import logging
from pathlib import Path

import pytest

from medfuse.bundle.volume_list import list_labelled_volumes, list_volumes

DICOM = bytes(128) + b"DICM" + bytes(8)


def touch(root: Path, *names: str, content: bytes = b"") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def found(root: Path) -> list[str]:
    return [Path(p).relative_to(root).as_posix() for p in list_volumes(root, [".nii", ".nii.gz"])]


def test_files_and_folders_of_dicom_are_volumes_whatever_dicom_is_called(tmp_path: Path) -> None:
    touch(tmp_path, "b/x.NII.gz", "a.nii")
    touch(tmp_path, "p1/IM0001", "p1/IM0002", "p2/deep/x.ima", content=DICOM)
    assert found(tmp_path) == ["a.nii", "b/x.NII.gz", "p1", "p2/deep"]


def test_a_name_alone_makes_no_dicom(tmp_path: Path) -> None:
    touch(tmp_path, "p1/x.dcm", content=b"text")
    assert found(tmp_path) == []


def test_the_index_of_a_medium_is_no_image(tmp_path: Path) -> None:
    touch(tmp_path, "cd/DICOMDIR", "cd/IMAGES/1", content=DICOM)
    assert found(tmp_path) == ["cd/IMAGES"]


def test_a_folder_of_slices_is_itself_one_volume(tmp_path: Path) -> None:
    touch(tmp_path, "1.dcm", "2.dcm", content=DICOM)
    assert found(tmp_path) == ["."]


def test_the_lowest_folders_are_volumes_and_what_lies_above_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "study/report.dcm", "study/s1/1", "study/s2/1", content=DICOM)
    touch(tmp_path, "study/s1/notes.txt", "study/list.txt")
    with caplog.at_level(logging.WARNING):
        assert found(tmp_path) == ["study/s1", "study/s2"]
    assert "2 files skipped, no volumes (.txt 1, DICOM 1)" in caplog.text


def test_hidden_folders_and_files_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, ".trash/1.dcm", "p/.1.dcm", content=DICOM)
    touch(tmp_path, ".x.nii")
    assert found(tmp_path) == []


def test_class_folders_may_hold_series_and_files(tmp_path: Path) -> None:
    touch(tmp_path, "yes/p1/1", "yes/p1/2", "yes/p2/1", content=DICOM)
    touch(tmp_path, "no/a.nii")
    items = list_labelled_volumes(tmp_path, ["no", "yes"], [".nii"])
    assert [(Path(str(i["image"])).name, i["label"]) for i in items] == [
        ("a.nii", 0),
        ("p1", 1),
        ("p2", 1),
    ]


def test_class_folders_without_a_volume_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "yes/x.dcm", content=b"text")
    with pytest.raises(FileNotFoundError, match="no input images in .*yes"):
        list_labelled_volumes(tmp_path, ["yes"], [".nii"])
