from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from medfuse.bundle.volume_list import list_labelled_volumes, list_volumes
from medfuse.data.dicom.scan import series_key


def touch(root: Path, *names: str, content: bytes = b"") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def found(root: Path, modality: str = "other") -> list[str]:
    names = list_volumes(root, [".nii", ".nii.gz"], modality)
    return [Path(name).relative_to(root).as_posix() for name in names]


@pytest.fixture
def series(synthetic) -> Callable[..., str]:
    """Write a series of its own; return its key."""

    def write(folder: Path, count: int = 3, make=None, **values: object) -> str:
        uid = f"{synthetic.ROOT}55.{zlib.crc32(f'{folder.name} {values}'.encode())}"

        def change(dataset, number: int) -> None:
            dataset.SeriesInstanceUID = uid
            dataset.SOPInstanceUID = f"{uid}.{number + 1}"
            for name, value in values.items():
                setattr(dataset, name, value)

        synthetic.write_series(folder, count, change, make or synthetic.ct_slice)
        return series_key(uid)

    return write


def test_files_and_series_are_volumes_whatever_dicom_is_called(tmp_path: Path, series) -> None:
    touch(tmp_path, "b/x.NII.gz", "a.nii")
    series(tmp_path / "p1")
    series(tmp_path / "p2" / "deep")
    for path in (tmp_path / "p1").iterdir():
        path.rename(path.with_suffix(""))
    assert found(tmp_path) == ["a.nii", "b/x.NII.gz", "p1", "p2/deep"]


def test_other_objects_are_counted_and_are_no_volumes(
    tmp_path: Path, series, synthetic, caplog: pytest.LogCaptureFixture
) -> None:
    series(tmp_path / "study" / "axial")
    series(tmp_path / "study" / "scout", 1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    series(tmp_path / "study" / "pages", 2, ImageType=["DERIVED", "SECONDARY", "DOSE_INFO"])
    series(tmp_path / "study" / "report", 1, SOPClassUID=synthetic.STORAGE + "88.33")
    series(tmp_path / "study" / "axial", 1, SOPClassUID="1.2.840.10008.1.3.10")
    (tmp_path / "study" / "axial" / "000.dcm").rename(tmp_path / "study" / "DIRFILE")
    series(tmp_path / "study" / "axial")
    touch(tmp_path, "study/axial/notes.txt", "study/list.txt")
    with caplog.at_level(logging.WARNING):
        assert found(tmp_path) == ["study/axial"]
    counts = "DICOMDIR 1, LOCALIZER 1, NOT_AN_IMAGE 1, SECONDARY_CAPTURE 2"
    assert f"6 files skipped, no volumes (.txt 1, {counts})" in caplog.text


def test_each_of_several_series_in_a_folder_is_a_volume(tmp_path: Path, series) -> None:
    keys = [series(tmp_path / "one")]
    for path in (tmp_path / "one").iterdir():
        path.rename(path.with_suffix(".ima"))
    keys.append(series(tmp_path / "one", 4, Modality="CT", SeriesDescription="other"))
    assert found(tmp_path) == sorted(f"one::{key}" for key in keys)


def test_a_series_above_another_is_named_by_its_key(tmp_path: Path, series) -> None:
    key = series(tmp_path / "study")
    series(tmp_path / "study" / "s1")
    assert found(tmp_path) == ["study/s1", f"study::{key}"]


def test_a_series_spread_over_folders_is_one_volume(tmp_path: Path, series) -> None:
    series(tmp_path / "cd" / "A", 6)
    (tmp_path / "cd" / "B").mkdir()
    for path in sorted((tmp_path / "cd" / "A").iterdir())[:3]:
        path.rename(tmp_path / "cd" / "B" / path.name)
    assert found(tmp_path) == ["cd"]


def test_each_multi_frame_file_is_a_volume(tmp_path: Path, synthetic) -> None:
    for number in range(2):
        dataset = synthetic.enhanced()
        dataset.SeriesInstanceUID += f".{number + 1}"
        dataset.SOPInstanceUID += f".{number + 1}"
        synthetic.write(dataset, tmp_path / "scans" / f"{number}")
    assert found(tmp_path) == ["scans/0", "scans/1"]


@pytest.mark.parametrize(
    ("modality", "expected"), [("CT", ["ct"]), ("MR", ["mr"]), ("other", ["ct", "mr"])]
)
def test_series_of_another_modality_are_no_volumes_of_the_input(
    tmp_path: Path, series, synthetic, caplog, modality: str, expected: list[str]
) -> None:
    series(tmp_path / "ct")
    series(tmp_path / "mr", 4, synthetic.mr_slice)
    with caplog.at_level(logging.WARNING):
        assert found(tmp_path, modality) == expected
    assert ("OTHER_MODALITY" in caplog.text) == (modality != "other")


def test_projections_are_no_volumes(tmp_path: Path, series, synthetic, caplog) -> None:
    series(tmp_path / "ct")
    synthetic.write(synthetic.projection(synthetic.samples(0)), tmp_path / "ct" / "chest.dcm")
    with caplog.at_level(logging.WARNING):
        assert [name.partition("::")[0] for name in found(tmp_path)] == ["ct"]
    assert "NOT_SLICES 1" in caplog.text


def test_a_folder_of_slices_is_itself_one_volume(tmp_path: Path, series) -> None:
    series(tmp_path)
    assert found(tmp_path) == ["."]


def test_what_cannot_be_read_is_listed_to_be_refused(tmp_path: Path, series) -> None:
    touch(tmp_path, "p1/1.dcm", "p1/2.dcm", content=b"text")
    touch(tmp_path, "p2/IM1", content=bytes(128) + b"DICM" + b"\xff" * 50)
    touch(tmp_path, "study/broken.dcm", content=b"text")
    series(tmp_path / "study" / "s1")
    touch(tmp_path, "study/s1/broken.dcm", content=b"text")
    assert found(tmp_path) == ["p1", "p2", "study/broken.dcm", "study/s1"]


def test_pipes_and_links_to_devices_are_not_opened(tmp_path: Path, series) -> None:
    series(tmp_path / "ct")
    os.mkfifo(tmp_path / "ct" / "pipe.dcm")
    (tmp_path / "ct" / "zero").symlink_to("/dev/zero")
    assert found(tmp_path) == ["ct"]


def test_hidden_folders_and_files_are_passed_over(tmp_path: Path, series) -> None:
    series(tmp_path / ".trash")
    touch(tmp_path, ".x.nii", "p/.1.dcm")
    assert found(tmp_path) == []


def test_class_folders_may_hold_series_and_files(tmp_path: Path, series) -> None:
    series(tmp_path / "yes" / "p1")
    series(tmp_path / "yes" / "p2")
    touch(tmp_path, "no/a.nii")
    items = list_labelled_volumes(tmp_path, ["no", "yes"], [".nii"])
    assert [(Path(str(i["image"])).name, i["label"]) for i in items] == [
        ("a.nii", 0),
        ("p1", 1),
        ("p2", 1),
    ]


def test_class_folders_of_another_modality_are_refused(tmp_path: Path, series, synthetic) -> None:
    series(tmp_path / "yes" / "p1", make=synthetic.mr_slice)
    assert len(list_labelled_volumes(tmp_path, ["yes"], [".nii"], "MR")) == 1
    with pytest.raises(FileNotFoundError, match="no input images in .*yes"):
        list_labelled_volumes(tmp_path, ["yes"], [".nii"], "CT")


def test_class_folders_without_a_volume_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "yes/x.txt", content=b"text")
    with pytest.raises(FileNotFoundError, match="no input images in .*yes"):
        list_labelled_volumes(tmp_path, ["yes"], [".nii"])
