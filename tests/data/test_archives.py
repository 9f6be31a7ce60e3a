"""Archives of images as cohorts: the file, or the folder that holds it alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medfuse.config import CohortConfig
from medfuse.data import Cohort, read_cohort
from medfuse.errors import CohortError


def write(path: Path, classes: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.arange(6, dtype=np.uint8) % classes
    np.savez(path, train_images=np.zeros((6, 8, 8), np.uint8), train_labels=labels)
    return path


def read(path: Path, **more: object) -> Cohort:
    return read_cohort(CohortConfig(path=str(path), **more))


def test_a_folder_of_one_archive_is_that_archive(tmp_path: Path) -> None:
    path = write(tmp_path / "set" / "images.npz")
    (tmp_path / "set" / ".hidden").write_text("")
    (tmp_path / "set" / "README.md").write_text("")
    assert read(tmp_path / "set").cases == read(path).cases


@pytest.mark.parametrize("other", ["more.npz", "class/image.png"])
def test_a_folder_that_holds_something_else_too_is_not_guessed(tmp_path: Path, other: str) -> None:
    write(tmp_path / "set" / "images.npz")
    beside = tmp_path / "set" / other
    if other.endswith(".npz"):
        write(beside)
        with pytest.raises(CohortError, match="found no image in class folders"):
            read(tmp_path / "set")
    else:
        beside.parent.mkdir()
        beside.write_bytes(b"")
        assert read(tmp_path / "set").classes == ("class",)


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("pneumoniamnist.npz", 2, ("normal", "pneumonia")),
        ("PneumoniaMNIST_224.npz", 2, ("normal", "pneumonia")),
        ("pneumoniamnist.npz", 3, ("0", "1", "2")),
        ("pneumoniamnist_mine.npz", 2, ("0", "1")),
        ("wards.npz", 2, ("0", "1")),
    ],
)
def test_an_archive_of_medmnist_has_its_class_names(
    name: str, classes: int, expected: tuple[str, ...], tmp_path: Path
) -> None:
    assert read(write(tmp_path / name, classes)).classes == expected


def test_names_that_are_given_win(tmp_path: Path) -> None:
    path = write(tmp_path / "pneumoniamnist.npz")
    assert read(path, classes=["clear", "ill"]).classes == ("clear", "ill")


@pytest.mark.parametrize(
    ("folder", "cases", "classes"), [("pneumoniamnist", 5856, 2), ("medicalmnist64", 6000, 6)]
)
def test_folders_of_real_archives_are_cohorts(
    folder: str, cases: int, classes: int, shared_data: Path
) -> None:
    found = read(shared_data / folder)
    assert (len(found.cases), len(found.classes)) == (cases, classes)
