"""Files that change or vanish while they are read, and folders that are still being filled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medfuse.data.dicom import series as module
from medfuse.data.dicom.read import read_dicom
from medfuse.data.dicom.refusal import DicomError
from medfuse.data.dicom.sandbox import SandboxedReader

from .synthetic import ROOT, ct_slice, projection, samples, write, write_series


def between(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Do something once, after the headers were read and before the first pixel is."""
    real, left = module.load, [action]

    def load(file, tags, pixels=False):
        if pixels and left:
            left.pop()()
        return real(file, tags, pixels)

    monkeypatch.setattr(module, "load", load)


def other_slice(path: Path) -> None:
    """Put a valid slice of another place and other pixels there, as large as the first."""
    dataset = ct_slice(7)
    dataset.SOPInstanceUID = f"{ROOT}9.3"
    write(dataset, path)


CHANGES = {
    "vanishes": lambda path: path.unlink(),
    "is another slice": other_slice,
    "is cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "grows": lambda path: path.write_bytes(path.read_bytes() + bytes(100)),
    "is a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_slice_that_changes_after_its_header_was_read_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_series(tmp_path)
    between(monkeypatch, lambda: CHANGES[name](folder / "002.dcm"))
    with pytest.raises(DicomError) as caught:
        read_dicom(str(folder))
    assert caught.value.code == "CHANGED"
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("name", CHANGES)
def test_a_picture_that_changes_after_its_header_was_read_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(projection(samples(0)), tmp_path / "chest.dcm")
    between(monkeypatch, lambda: CHANGES[name](path))
    with pytest.raises(DicomError) as caught:
        read_dicom(str(path))
    assert caught.value.code == "CHANGED"


def test_a_file_that_vanishes_after_it_was_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_series(tmp_path)
    real = module._stamp
    calls = []

    def stamp(file: str):
        calls.append(file)
        if len(calls) == 3:
            Path(file).unlink()
        return real(file)

    monkeypatch.setattr(module, "_stamp", stamp)
    with pytest.raises(DicomError, match="CHANGED"):
        read_dicom(str(folder))


def test_a_folder_that_is_being_filled_gives_true_volumes_or_refusals(tmp_path: Path) -> None:
    """Every slice that is read is where its affine says, with its own samples."""
    folder = tmp_path / "in"
    folder.mkdir()
    whole = write_series(tmp_path / "source", 12)
    enough = threading.Event()
    thread = threading.Thread(target=send_again_and_again, args=(whole, folder, enough))
    codes: set[str] = set()
    with SandboxedReader(children=1) as reader:
        reader.read(str(whole))
        thread.start()
        try:
            for _ in range(60):
                codes.add(code_of_a_true_volume(reader, folder))
        finally:
            enough.set()
            thread.join()
    known = {"CHANGED", "TRUNCATED", "DAMAGED", "IRREGULAR_SPACING", "SINGLE_SLICE", "NO_IMAGES"}
    known |= {"NOT_DICOM", "NO_PREAMBLE", "NOT_DIAGNOSTIC", "MISSING_UID", "UNREADABLE", "READ"}
    assert codes - {"READ"}
    assert codes <= known


def code_of_a_true_volume(reader: SandboxedReader, folder: Path) -> str:
    try:
        image = reader.read(str(folder))
    except DicomError as error:
        return error.code
    for place in range(image.pixels.shape[2]):
        height = (image.affine @ [0, 0, place, 1])[2]
        number = round((height - 5) / 2)
        np.testing.assert_array_equal(image.pixels[..., place], samples(number).T - 1024.0)
    return "READ"


def send_again_and_again(source: Path, folder: Path, enough: threading.Event) -> None:
    while not enough.is_set():
        for path in sorted(source.iterdir()):
            data = path.read_bytes()
            with (folder / path.name).open("wb") as file:
                file.write(data[:900])
                file.flush()
                file.write(data[900:])
        for path in list(folder.iterdir()):
            path.unlink()
