from __future__ import annotations

import logging
from pathlib import Path

import pytest

from medfuse.bundle.image_list import list_images, list_labelled_images
from medfuse.bundle.required_images import require_images


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_images_are_found_in_all_depths_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a/z.png", "a/b/c.nii.gz")
    found = list_images(tmp_path, [".png", ".nii.gz"])
    relative = [Path(name).relative_to(tmp_path).as_posix() for name in found]
    assert relative == ["a/b/c.nii.gz", "a/z.png", "b.PNG"]


def test_what_is_skipped_is_counted_by_kind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "a.png", "n.txt", "m.txt", ".hidden/x.png", "README")
    with caplog.at_level(logging.WARNING):
        assert len(list_images(tmp_path, [".png"])) == 1
    assert "4 files skipped, not images (.txt 2, hidden 1, no suffix 1)" in caplog.text


def test_labels_are_positions_of_class_names(tmp_path: Path) -> None:
    touch(tmp_path, "no/1.png", "yes/2.png", "yes/3.png")
    found = list_labelled_images(tmp_path, ["yes", "no"], [".png"])
    assert [item["label"] for item in found] == [0, 0, 1]


def test_folders_of_no_class_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "yes/1.png", "no/1.png", "maybe/1.png")
    with pytest.raises(ValueError, match="maybe: not a class, expected yes, no"):
        list_labelled_images(tmp_path, ["yes", "no"], [".png"])


def test_classes_without_images_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "yes/1.png")
    with pytest.raises(FileNotFoundError, match="no input images in .*no; give --dataset_dir"):
        list_labelled_images(tmp_path, ["yes", "no"], [".png"])
    with pytest.raises(FileNotFoundError, match="no such folder"):
        list_labelled_images(tmp_path / "absent", ["yes", "no"], [".png"])


def test_no_images_are_an_error() -> None:
    with pytest.raises(FileNotFoundError, match="no input images"):
        require_images([], "somewhere")
    require_images(["a.png"], "somewhere")


def relative(root: Path, modality: str = "other") -> list[str]:
    return [Path(p).relative_to(root).as_posix() for p in list_images(root, [".png"], modality)]


def test_dicom_is_told_by_content(tmp_path: Path, synthetic) -> None:
    touch(tmp_path, "a.png")
    for name in ("p1/x.dcm", "p1/IM2", "IM3"):
        synthetic.write(synthetic.projection(synthetic.samples(0)), tmp_path / name)
    assert relative(tmp_path) == ["IM3", "a.png", "p1/IM2", "p1/x.dcm"]


def test_dicom_that_is_no_image_is_counted(
    tmp_path: Path, synthetic, caplog: pytest.LogCaptureFixture
) -> None:
    chest = synthetic.projection(synthetic.samples(0))
    synthetic.write(chest, tmp_path / "chest")
    for code in ("LOCALIZER", "SCREEN SAVE"):
        chest.ImageType = ["DERIVED", "SECONDARY", code]
        synthetic.write(chest, tmp_path / code)
    chest.SOPClassUID = "1.2.840.10008.1.3.10"
    synthetic.write(chest, tmp_path / "DICOMDIR")
    with caplog.at_level(logging.WARNING):
        assert relative(tmp_path) == ["chest"]
    assert "3 files skipped, not images (DICOMDIR 1, LOCALIZER 1, SECONDARY_CAPTURE 1)" in (
        caplog.text
    )


def test_slices_are_no_x_rays(tmp_path: Path, synthetic, caplog: pytest.LogCaptureFixture) -> None:
    synthetic.write_series(tmp_path / "ct", 4)
    chest = synthetic.projection(synthetic.samples(0))
    chest.SeriesInstanceUID += ".1"
    synthetic.write(chest, tmp_path / "chest")
    assert len(relative(tmp_path)) == 5
    with caplog.at_level(logging.WARNING):
        assert relative(tmp_path, "XR") == ["chest"]
    assert "OTHER_MODALITY 4" in caplog.text


def test_dicom_that_cannot_be_read_is_listed_to_be_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"text")
    (tmp_path / "b").write_bytes(bytes(128) + b"DICM" + b"\xff" * 50)
    assert relative(tmp_path) == ["a.dcm", "b"]
