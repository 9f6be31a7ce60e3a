"""Mutation fuzzing: whatever is done to a file, it is refused with a code or read as it is.

A failure names the seed and the number of the mutant; the same two give the same bytes again.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.datadict import keyword_for_tag

from medfuse.data.dicom.facts import DicomImage
from medfuse.data.dicom.picture import _TAGS as PICTURE_TAGS
from medfuse.data.dicom.refusal import EVENTS, REFUSALS, DicomError
from medfuse.data.dicom.sandbox import SandboxedReader
from medfuse.data.dicom.scan import _TAGS
from medfuse.data.dicom.series import HEADER_TAGS

from .encoders import jpeg_2000, jpeg_ls, rle
from .faults import encapsulated
from .mutants import Mutant, elements, mutant, with_value
from .synthetic import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    SECRETS,
    ct_slice,
    enhanced,
    projection,
    samples,
    set_pixels,
    table,
    write,
    write_series,
)

SECONDS, MEGABYTES = 20, 2000
PIXEL_DATA = 0x7FE00010
READ_TAGS = {*_TAGS, *HEADER_TAGS, *PICTURE_TAGS, "SpecificCharacterSet"}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


@pytest.fixture(scope="module")
def reader() -> Iterator[SandboxedReader]:
    with SandboxedReader(SECONDS, MEGABYTES, children=1) as reader:
        yield reader


def color():
    dataset = projection(samples(0))
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.4"
    set_pixels(dataset, np.stack([(samples(n) >> 4).astype(np.uint8) for n in range(3)], axis=-1))
    return dataset


def shown():
    dataset = projection(samples(1))
    dataset.VOILUTSequence = [table(list(range(0, 4096 * 16, 16)), 0, 16)]
    return dataset


def windowed():
    dataset = projection(samples(1), photometric="MONOCHROME1")
    dataset.WindowCenter, dataset.WindowWidth = 2000, 3000
    return dataset


def compressed(encode: Callable, syntax: str):
    def make(path: Path) -> Path:
        dataset = ct_slice(0)
        dataset.PixelData = encapsulated(encode(samples(0)))
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        return write(dataset, path, syntax)

    return make


def plain(make: Callable, syntax: str = EXPLICIT):
    return lambda path: write(make(), path, syntax)


SEEDS: dict[str, Callable[[Path], Path]] = {
    "slice": plain(lambda: ct_slice(0)),
    "implicit": plain(lambda: ct_slice(0), IMPLICIT),
    "big endian": plain(lambda: ct_slice(0), BIG_ENDIAN),
    "deflated": plain(lambda: ct_slice(0), DEFLATED),
    "frames": plain(enhanced),
    "window": plain(windowed),
    "lookup table": plain(shown),
    "color": plain(color),
    "rle": compressed(rle, "1.2.840.10008.1.2.5"),
    "jpeg-ls": compressed(jpeg_ls, "1.2.840.10008.1.2.4.80"),
    "jpeg 2000": compressed(jpeg_2000, "1.2.840.10008.1.2.4.90"),
}


def outcome(reader: SandboxedReader, path: Path) -> DicomImage | str:
    """Return the image, or the code of a refusal that says nothing of the patient."""
    started = time.monotonic()
    try:
        image = reader.read(str(path))
    except DicomError as error:
        assert error.code in REFUSALS
        assert not [secret for secret in (*SECRETS, str(path)) if secret in str(error)]
        return error.code
    finally:
        assert time.monotonic() - started < SECONDS + 5
    require_sound(image)
    return image


def require_sound(image: DicomImage) -> None:
    assert image.pixels.dtype == np.float32
    assert image.pixels.size > 0
    assert np.isfinite(image.pixels).all()
    assert {code for code, _ in image.events} <= set(EVENTS)
    assert image.spacing is None or all(1e-3 <= length <= 1e5 for length in image.spacing)
    if image.affine is None:
        assert image.pixels.ndim == 2 or image.pixels.shape[2:] == (3,)
    else:
        assert image.pixels.ndim == 3
        assert np.isfinite(image.affine).all()
        assert abs(np.linalg.det(image.affine[:3, :3])) > 0


def require_true(found: DicomImage | str, truth: DicomImage, change: Mutant) -> None:
    """An element that is not read decides nothing, whatever it holds."""
    keyword = keyword_for_tag(change.tag)
    if not change.tag or keyword in READ_TAGS:
        return
    assert isinstance(found, DicomImage), f"{change.what}: {found}"
    np.testing.assert_array_equal(found.pixels, truth.pixels)
    if truth.affine is not None:
        np.testing.assert_array_equal(found.affine, truth.affine)


def fuzz(reader: SandboxedReader, path: Path, name: str, until: Callable[[int], bool]) -> Counter:
    """Read mutants of a file until ``until(number)``; return how often each outcome came."""
    data, truth = path.read_bytes(), reader.read(str(path))
    outcomes: Counter[str] = Counter()
    number = 0
    while not until(number):
        change = mutant(data, random.Random(f"{name} {number}"))
        path.write_bytes(change.data)
        try:
            found = outcome(reader, path)
            require_true(found, truth, change)
        except AssertionError as error:
            raise AssertionError(f"seed {name!r}, mutant {number}: {change.what}") from error
        outcomes[found if isinstance(found, str) else "READ"] += 1
        number += 1
    return outcomes


@pytest.mark.parametrize("name", SEEDS)
def test_a_damaged_file_is_refused_with_a_code_or_read_as_it_is(
    name: str, tmp_path: Path, reader: SandboxedReader
) -> None:
    path = SEEDS[name](tmp_path / "file.dcm")
    outcomes = fuzz(reader, path, name, lambda number: number >= 40)
    assert 0 < outcomes["READ"] < 40  # some damage matters, some does not


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_much_damage_to_a_file(name: str, tmp_path: Path, reader: SandboxedReader) -> None:
    path = SEEDS[name](tmp_path / "file.dcm")
    end = time.monotonic() + 2.5
    outcomes = fuzz(reader, path, f"long {name}", lambda _: time.monotonic() > end)
    assert outcomes.total() > 40


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("ct_head_philips/S2010/I10", "ct_head_philips/S1000/I10", "ct_head_philips/S4010/I10"),
        *("ct_head_ge_tilted/01.dcm", "mr_epi_siemens/mr_0003/epi_pe_ap-00001.dcm"),
    ],
)
def test_damage_to_files_of_vendors(
    name: str, shared_data: Path, tmp_path: Path, reader: SandboxedReader
) -> None:
    whole = (shared_data / "dicom" / name).read_bytes()
    path = tmp_path / "file.dcm"
    end, number, outcomes = time.monotonic() + 3, 0, Counter[str]()
    while time.monotonic() < end:
        path.write_bytes(mutant(whole, random.Random(f"{name} {number}")).data)
        found = outcome(reader, path)
        outcomes[found if isinstance(found, str) else "READ"] += 1
        number += 1
    assert outcomes.total() > 10


def test_samples_that_change_change_themselves_alone(
    tmp_path: Path, reader: SandboxedReader
) -> None:
    path = write(ct_slice(0), tmp_path / "file.dcm")
    data, truth = path.read_bytes(), reader.read(str(path)).pixels
    (pixels,) = [e for e in elements(data) if e.tag == PIXEL_DATA]
    rng = random.Random(0)
    for _ in range(20):
        at = rng.randrange(truth.size)
        new = rng.randrange(4096)
        place = pixels.value + 2 * at
        path.write_bytes(data[:place] + new.to_bytes(2, "little") + data[place + 2 :])
        expected = truth.copy()
        expected.flat[at] = new - 1024
        np.testing.assert_array_equal(reader.read(str(path)).pixels, expected)


def damaged_series(
    reader: SandboxedReader, folder: Path, name: str, until: Callable[[int], bool]
) -> Counter:
    """Damage one of five slices at a time; the volume is refused, true, or says what it lacks."""
    truth = reader.read(str(write_series(folder)))
    outcomes: Counter[str] = Counter()
    number = 0
    while not until(number):
        rng = random.Random(f"{name} {number}")
        which = rng.randrange(5)
        path = folder / f"{which:03d}.dcm"
        data = path.read_bytes()
        change = mutant(data, rng)
        path.write_bytes(change.data)
        found = outcome(reader, folder)
        path.write_bytes(data)
        require_true(found, truth, change)
        if isinstance(found, DicomImage) and found.pixels.shape != truth.pixels.shape:
            told = {code for code, _ in found.events}
            assert "SKIPPED" in told, f"mutant {number}: {change.what}"
            kept = np.delete(truth.pixels, which, axis=2)
            assert found.pixels.shape == kept.shape
            np.testing.assert_array_equal(found.pixels, kept)
        outcomes[found if isinstance(found, str) else "READ"] += 1
        number += 1
    return outcomes


@pytest.mark.slow
def test_a_series_with_one_damaged_file_is_refused_true_or_says_what_it_lacks(
    tmp_path: Path, reader: SandboxedReader
) -> None:
    outcomes = damaged_series(reader, tmp_path, "series", lambda number: number >= 60)
    assert outcomes["READ"] > 0
    assert outcomes.total() > outcomes["READ"]


@pytest.mark.slow
def test_much_damage_to_a_series(tmp_path: Path, reader: SandboxedReader) -> None:
    end = time.monotonic() + 15
    damaged_series(reader, tmp_path, "long series", lambda _: time.monotonic() > end)


def test_a_private_element_of_any_content_changes_nothing(
    tmp_path: Path, reader: SandboxedReader
) -> None:
    dataset = ct_slice(0)
    block = dataset.private_block(0x0009, "MAKER", create=True)
    block.add_new(1, "LO", "text")
    path = write(dataset, tmp_path / "file.dcm")
    data, truth = path.read_bytes(), reader.read(str(path)).pixels
    (private,) = [e for e in elements(data) if e.tag == 0x00091001]
    for value in (b"", b"\xff" * 30, b"\x1b[31m", bytes(1000)):
        path.write_bytes(with_value(data, private, value))
        np.testing.assert_array_equal(reader.read(str(path)).pixels, truth)
