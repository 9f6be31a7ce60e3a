"""Archives of images as cohorts: the file, or the folder that holds it alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medfuse.config import CohortConfig
from medfuse.data import Cohort, image_array, read_cohort
from medfuse.data.image_array import archive_array
from medfuse.data.image_facts import ImageFileError
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


def test_a_large_archive_is_mapped_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 255, (40, 64, 64), dtype=np.uint8)
    np.savez_compressed(tmp_path / "set.npz", train_images=images, val_images=images.T)
    monkeypatch.setattr(image_array, "_IN_MEMORY", 2**16)
    monkeypatch.setattr(image_array.tempfile, "tempdir", str(tmp_path))
    path = str(tmp_path / "set.npz")
    for key, expected in (("train_images", images), ("val_images", images.T)):
        found = archive_array(path, key)
        assert isinstance(found, np.memmap)
        assert not found.flags.writeable
        np.testing.assert_array_equal(found, expected)
    assert [file.name for file in tmp_path.iterdir()] == ["set.npz"], "nothing is left behind"


def test_a_large_archive_that_finds_no_room_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "set.npz", train_images=np.ones((40, 64, 64), np.uint8))
    monkeypatch.setattr(image_array, "_IN_MEMORY", 2**16)
    full = SimpleNamespace(free=100)
    monkeypatch.setattr(image_array.shutil, "disk_usage", lambda _folder: full)
    with pytest.raises(ImageFileError, match="more than are free in .* set TMPDIR"):
        archive_array(str(tmp_path / "set.npz"), "train_images")
