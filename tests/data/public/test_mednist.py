"""MedNIST: class folders or their archive, with and without the network."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest
from monai.apps.datasets import MedNISTDataset
from PIL import Image

from medfuse.config import CohortConfig
from medfuse.data import read_cohort
from medfuse.data.public import FetchOptions, fetch_set
from medfuse.errors import CohortError


def write_folders(root: Path) -> Path:
    for number, name in enumerate(("AbdomenCT", "Hand")):
        (root / name).mkdir(parents=True)
        for index in range(2):
            pixels = np.full((64, 64), 50 * number + index, np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index:06d}.jpeg")
    (root / "README.md").write_text("MedNIST")
    return root


def test_local_class_folders_are_the_cohort(tmp_path: Path) -> None:
    write_folders(tmp_path / "MedNIST")
    found = fetch_set("mednist", FetchOptions(tmp_path))
    cohort = read_cohort(CohortConfig(path=str(found.cohort)))
    assert found.classes == cohort.classes == ("AbdomenCT", "Hand")
    assert len(cohort.cases) == 4


def test_a_local_archive_is_unpacked_without_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folders(tmp_path / "made" / "MedNIST")
    path = tmp_path / "MedNIST.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(tmp_path / "made" / "MedNIST", "MedNIST")
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(MedNISTDataset, "md5", digest)
    assert fetch_set("mednist", FetchOptions(tmp_path)).classes == ("AbdomenCT", "Hand")


def test_a_damaged_archive_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "MedNIST.tar.gz").write_bytes(b"half")
    with pytest.raises(CohortError, match=r"mednist: could not be unpacked .*hash check") as caught:
        fetch_set("mednist", FetchOptions(tmp_path))
    assert len(str(caught.value).splitlines()) == 1


def test_without_network_or_permission_the_text_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = r"MedNIST: there is no such folder.*Put MedNIST\.tar\.gz.*--download"
    with pytest.raises(CohortError, match=text):
        fetch_set("mednist", FetchOptions(tmp_path))
    monkeypatch.setattr(MedNISTDataset, "resource", "http://127.0.0.1:9/MedNIST.tar.gz")
    text = r"mednist: could not be fetched \(.*\)\. Fetch http.* with another program into"
    with pytest.raises(CohortError, match=text):
        fetch_set("mednist", FetchOptions(tmp_path, download=True))
