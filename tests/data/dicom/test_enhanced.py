from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from medfuse.data.dicom.read import read_dicom
from medfuse.data.dicom.refusal import DicomError

from .synthetic import ROOT, enhanced, samples, write, write_series


def shuffled(dataset: Dataset, order: list[int]) -> Dataset:
    """Return the object with its frames, and their items, in another order."""
    items = list(dataset.PerFrameFunctionalGroupsSequence)
    dataset.PerFrameFunctionalGroupsSequence = Items([items[place] for place in order])
    dataset.PixelData = b"".join(samples(place).tobytes() for place in order)
    return dataset


def test_a_multi_frame_object_equals_the_series_of_its_slices(tmp_path: Path) -> None:
    one = read_dicom(str(write(enhanced(5), tmp_path / "one.dcm")))
    many = read_dicom(str(write_series(tmp_path / "many")))
    assert one.pixels.tobytes() == many.pixels.tobytes()
    np.testing.assert_array_equal(one.affine, many.affine)
    assert one.spacing == many.spacing


def test_frames_in_any_order_are_placed_by_their_own_items(tmp_path: Path) -> None:
    plain = read_dicom(str(write(enhanced(5), tmp_path / "plain.dcm")))
    mixed = shuffled(enhanced(5), [3, 0, 4, 1, 2])
    image = read_dicom(str(write(mixed, tmp_path / "mixed.dcm")))
    assert image.pixels.tobytes() == plain.pixels.tobytes()


def test_rescale_of_a_frame_goes_before_the_shared_one(tmp_path: Path) -> None:
    dataset = enhanced(5)
    for number, item in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        own = Dataset()
        own.RescaleSlope, own.RescaleIntercept = 1 + number, 7 * number
        item.PixelValueTransformationSequence = Items([own])
    image = read_dicom(str(write(dataset, tmp_path / "own.dcm")))
    expected = [samples(n).T * (1.0 + n) + 7 * n for n in range(5)]
    np.testing.assert_allclose(image.pixels, np.stack(expected, axis=-1))


def test_an_object_in_two_parts_is_one_volume(tmp_path: Path) -> None:
    whole = read_dicom(str(write(enhanced(6), tmp_path / "whole.dcm")))
    for part, places in enumerate(([0, 2, 4], [1, 3, 5])):
        dataset = shuffled(enhanced(6), places)
        dataset.NumberOfFrames = 3
        dataset.SOPInstanceUID = f"{ROOT}6.{part}"
        write(dataset, tmp_path / "parts" / f"{part}.dcm")
    image = read_dicom(str(tmp_path / "parts"))
    assert image.pixels.tobytes() == whole.pixels.tobytes()


def test_a_frame_without_its_position_is_refused(tmp_path: Path) -> None:
    dataset = enhanced(5)
    del dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    path = write(dataset, tmp_path / "lost.dcm")
    with pytest.raises(DicomError, match=r"ImagePositionPatient is absent.*NO_GEOMETRY"):
        read_dicom(str(path))


def test_time_points_in_one_object_are_refused(tmp_path: Path) -> None:
    dataset = enhanced(6)
    for number, item in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        item.PlanePositionSequence[0].ImagePositionPatient = [-20, 30, 2 * (number % 3)]
    path = write(dataset, tmp_path / "four_d.dcm")
    with pytest.raises(DicomError, match="REPEATED_POSITIONS"):
        read_dicom(str(path))


@pytest.mark.parametrize("count", [-1, 0, 1_000_000])
def test_an_impossible_number_of_frames_is_refused(tmp_path: Path, count: int) -> None:
    dataset = enhanced(5)
    dataset.NumberOfFrames = count
    path = write(dataset, tmp_path / "frames.dcm")
    with pytest.raises(DicomError, match="PIXEL_FORMAT|BAD_FRAMES|TOO_LARGE|TRUNCATED"):
        read_dicom(str(path))


def test_one_frame_in_a_file_that_is_named_is_a_picture(tmp_path: Path) -> None:
    image = read_dicom(str(write(enhanced(1), tmp_path / "one.dcm")))
    assert image.affine is None
    np.testing.assert_array_equal(image.pixels, samples(0) - 1024.0)
