from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from medfuse.data.dicom.refusal import DicomError
from medfuse.data.dicom.sandbox import SandboxedReader

from .hostile import HOSTILE, READ
from .synthetic import ROOT, SECRETS, ct_slice, samples, set_pixels, write, write_series

SECONDS, MEGABYTES = 20, 2000
pytestmark = pytest.mark.filterwarnings(  # of pydicom, when it writes the attacks
    "ignore:Invalid value for VR", "ignore:The value length"
)


@pytest.fixture(scope="module")
def reader() -> Iterator[SandboxedReader]:
    with SandboxedReader(SECONDS, MEGABYTES, children=1) as reader:
        yield reader


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_series(tmp_path_factory.mktemp("good")))


def truth() -> np.ndarray:
    """Return the volume of five unchanged slices."""
    return np.stack([samples(number).T for number in range(5)], axis=-1).astype(np.float32) - 1024


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_an_attack_is_refused_with_a_code_or_read_as_if_it_were_none(
    name: str, tmp_path: Path, reader: SandboxedReader, good: str
) -> None:
    attack, allowed = HOSTILE[name]
    folder = tmp_path / "attack"
    folder.mkdir()
    reference = str(attack(folder))
    started = time.monotonic()
    try:
        pixels = reader.read(reference).pixels
    except DicomError as error:
        assert error.code in allowed, str(error)
        for secret in (*SECRETS, str(tmp_path)):
            assert secret not in str(error)
    else:
        assert READ in allowed
        expected = samples(0).astype(np.float32) - 1024 if pixels.ndim == 2 else truth()
        np.testing.assert_array_equal(pixels, expected)
    assert time.monotonic() - started < SECONDS + 5
    np.testing.assert_array_equal(reader.read(good).pixels, truth())
    assert {path.name for path in tmp_path.iterdir()} == {"attack"}  # nothing written beside it


def ten_thousand(folder: Path) -> Path:
    """Write a series of 10 000 slices of 8 x 8, from one file whose numbers are replaced."""
    dataset = ct_slice(0)
    set_pixels(dataset, np.full((8, 8), 7, np.uint16), bits=12)
    dataset.SOPInstanceUID = f"{ROOT}9.10000"
    dataset.ImagePositionPatient = [0, 0, "10000"]
    template = write(dataset, folder / "10000.dcm").read_bytes()
    for number in range(10001, 20000):
        (folder / f"{number}.dcm").write_bytes(template.replace(b"10000", str(number).encode()))
    return folder


@pytest.mark.slow
@pytest.mark.long
def test_ten_thousand_slices_are_read_or_refused_in_time(
    tmp_path: Path, reader: SandboxedReader, good: str
) -> None:
    folder = ten_thousand(tmp_path / "series")
    started = time.monotonic()
    try:
        assert reader.read(str(folder)).pixels.shape == (8, 8, 10000)
    except DicomError as error:
        assert error.code == "TIMEOUT"  # a folder has 0.02 s for each of its files
    assert time.monotonic() - started < SECONDS + 200 + 5
    np.testing.assert_array_equal(reader.read(good).pixels, truth())
