from __future__ import annotations

import logging
from pathlib import Path

import pytest

from medfuse.bundle.image_list import list_images, list_labelled_images, require_images


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
