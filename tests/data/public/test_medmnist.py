"""MedMNIST archives that lie in a folder: found by name, named, and never fetched unasked."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from medfuse.config import CohortConfig
from medfuse.data import read_cohort
from medfuse.data.public import FetchOptions, fetch_set, public_sets
from medfuse.errors import CohortError, ConfigError


def archive(path: Path, shape: tuple[int, ...] = (28, 28), classes: int = 2) -> Path:
    """Write an archive of 6, 4 and 4 images as MedMNIST has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 6), ("val", 4), ("test", 4)):
        arrays[f"{part}_images"] = random.integers(0, 256, (count, *shape)).astype(np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % classes)[:, None].astype(np.uint8)
    np.savez(path, **arrays)
    return path


@pytest.fixture
def _without_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("medmnist", "medmnist.info"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("_without_package")
@pytest.mark.parametrize(
    ("name", "size", "file", "shape"),
    [
        ("pneumoniamnist", None, "pneumoniamnist.npz", (28, 28)),
        ("breastmnist", 64, "breastmnist_64.npz", (64, 64)),
        ("dermamnist", None, "dermamnist.npz", (28, 28, 3)),
        ("nodulemnist3d", None, "nodulemnist3d.npz", (28, 28, 28)),
    ],
)
def test_a_local_archive_is_a_cohort_with_names_and_parts_without_the_package(
    name: str, size: int | None, file: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    archive(tmp_path / file, shape)
    found = fetch_set(name, FetchOptions(tmp_path, size=size))
    cohort = read_cohort(CohortConfig(path=str(found.cohort)))
    assert cohort.classes == found.classes
    assert len(found.classes) >= 2
    parts = {role: sum(row.values()) for role, row in cohort.counts().items()}
    assert parts == {"train": 6, "validation": 4, "test": 4}
    assert any("Not compared with the published file" in note for note in found.notes)


@pytest.mark.usefixtures("_without_package")
def test_an_absent_archive_is_not_fetched_and_the_text_says_from_where(tmp_path: Path) -> None:
    text = r"pneumoniamnist\.npz: there is no such file, .*zenodo.*pneumoniamnist\.npz, or .*--down"
    with pytest.raises(CohortError, match=text):
        fetch_set("pneumoniamnist", FetchOptions(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_without_package")
def test_fetching_without_the_package_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"needs the package medmnist.*pip install"):
        fetch_set("pneumoniamnist", FetchOptions(tmp_path, download=True))


@pytest.mark.parametrize(("name", "size"), [("breastmnist", 30), ("nodulemnist3d", 128)])
def test_a_size_that_the_set_does_not_have_is_refused(name: str, size: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"size is {size}, expected 28, 64"):
        fetch_set(name, FetchOptions(tmp_path, size=size))


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"no archive", "cannot be read as a .npz archive"), (None, "holds no train_labels")],
)
def test_a_damaged_archive_is_refused_by_name(
    content: bytes | None, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "pneumoniamnist.npz"
    if content is None:
        np.savez(path, images=np.zeros((2, 28, 28), np.uint8))
    else:
        path.write_bytes(content)
    with pytest.raises(CohortError, match=rf"pneumoniamnist\.npz: {text}"):
        fetch_set("pneumoniamnist", FetchOptions(tmp_path))


def test_an_unknown_set_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='Did you mean "pneumoniamnist"'):
        fetch_set("pneumonia-mnist", FetchOptions(tmp_path))


def test_the_embedded_names_are_those_of_the_package() -> None:
    info = pytest.importorskip("medmnist.info", reason="promise not shown: needs medmnist").INFO
    for name, described in public_sets().items():
        if name in info:
            archived = tuple(info[name]["label"][str(i)] for i in range(len(info[name]["label"])))
            from medfuse.data.medmnist_classes import MEDMNIST_CLASSES

            assert MEDMNIST_CLASSES[name] == archived, described.name


def test_the_real_archive_is_the_published_one_by_count(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "pneumoniamnist" / "pneumoniamnist.npz"
    (tmp_path / source.name).symlink_to(source)
    found = fetch_set("pneumoniamnist", FetchOptions(tmp_path))
    lists = json.loads(found.cohort.read_text())
    assert found.classes == ("normal", "pneumonia")
    counts = [len(lists[part]) for part in ("training", "validation", "test")]
    assert counts == [4708, 524, 624]
