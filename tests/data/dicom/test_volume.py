from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from medfuse.data.dicom.read import DicomImage, read_dicom
from medfuse.data.dicom.refusal import EVENTS, DicomError

from .synthetic import (
    COLUMNS,
    ROWS,
    SECRETS,
    ct_slice,
    mr_slice,
    samples,
    set_pixels,
    table,
    tilted,
    write,
    write_series,
)


def stored(count: int) -> np.ndarray:
    return np.stack([samples(number).T for number in range(count)], axis=-1).astype(np.float32)


def codes(image: DicomImage) -> list[str]:
    return [code for code, _ in image.events]


def test_a_ct_series_is_hounsfield_units_in_ras_millimeters(tmp_path: Path) -> None:
    image = read_dicom(str(write_series(tmp_path)))
    assert image.pixels.dtype == np.float32
    np.testing.assert_array_equal(image.pixels, stored(5) - 1024)
    expected = [[-0.4, 0, 0, 20], [0, -0.5, 0, -30], [0, 0, 2, 5], [0, 0, 0, 1]]
    np.testing.assert_allclose(image.affine, expected, atol=1e-9)
    np.testing.assert_allclose(image.spacing, (0.4, 0.5, 2))
    assert (image.modality, image.bits) == ("CT", 12)
    assert codes(image) == ["RESCALED"]


@pytest.mark.parametrize("turn", ["HFS", "HFP", "HFDR", "FFS", "coronal", "oblique"])
def test_each_voxel_lies_where_its_own_header_says(tmp_path: Path, turn: str) -> None:
    axes = {
        "HFS": [1, 0, 0, 0, 1, 0],
        "HFP": [-1, 0, 0, 0, -1, 0],
        "HFDR": [0, 1, 0, -1, 0, 0],
        "FFS": [-1, 0, 0, 0, 1, 0],
        "coronal": [1, 0, 0, 0, 0, -1],
        "oblique": [0.8, 0.6, 0, -0.36, 0.48, 0.8],
    }[turn]
    row, column = np.array(axes[:3]), np.array(axes[3:])
    normal = np.cross(row, column)

    def change(dataset: Dataset, number: int) -> None:
        dataset.ImageOrientationPatient = axes
        dataset.ImagePositionPatient = [float(f"{x:.6f}") for x in [1, 2, 3] - 3 * number * normal]

    image = read_dicom(str(write_series(tmp_path, 6, change)))
    for number in range(6):
        for i, j in ((0, 0), (COLUMNS - 1, 0), (0, ROWS - 1), (4, 7)):
            place = np.array([1, 2, 3]) - 3 * number * normal + row * 0.4 * i + column * 0.5 * j
            ras = np.array([-place[0], -place[1], place[2], 1])
            x, y, z = np.linalg.solve(image.affine, ras)[:3]
            voxel = tuple(int(v) for v in np.round([x, y, z]))
            np.testing.assert_allclose([x, y, z], voxel, atol=1e-4)
            assert image.pixels[voxel] == int(samples(number)[j, i]) - 1024


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series(tmp_path_factory.mktemp("plain"))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(range(5)),
    numbers=st.one_of(
        st.none(), st.lists(st.integers(-3, 3), min_size=5, max_size=5), st.permutations(range(5))
    ),
    copies=st.lists(st.integers(0, 4), max_size=3),
)
def test_names_order_copies_and_instance_numbers_change_nothing(
    plain: Path, order: list[int], numbers: list[int] | None, copies: list[int]
) -> None:
    expected = read_dicom(str(plain))
    with tempfile.TemporaryDirectory() as folder:
        for place, number in enumerate(order):
            dataset = ct_slice(number)
            if numbers is None:
                del dataset.InstanceNumber
            else:
                dataset.InstanceNumber = numbers[number]
            write(dataset, Path(folder, f"sub{place % 2}", f"f{place}"))
        for extra, number in enumerate(copies):
            source = next(Path(folder).rglob(f"f{order.index(number)}"))
            shutil.copy(source, Path(folder, f"copy{extra}.dcm"))
        image = read_dicom(folder)
    assert image.pixels.tobytes() == expected.pixels.tobytes()
    assert image.affine.tobytes() == expected.affine.tobytes()
    kept = [event for event in image.events if event[0] != "SKIPPED"]
    assert kept == list(expected.events)
    assert (("SKIPPED", f"DUPLICATE {len(copies)}") in image.events) == bool(copies)


def test_a_copy_in_another_encoding_is_a_copy(tmp_path: Path) -> None:
    write_series(tmp_path)
    write(ct_slice(2), tmp_path / "again.dcm", "1.2.840.10008.1.2")
    image = read_dicom(str(tmp_path))
    assert image.pixels.shape == (COLUMNS, ROWS, 5)


def test_a_copy_that_lies_elsewhere_is_a_conflict(tmp_path: Path) -> None:
    write_series(tmp_path)
    moved = ct_slice(2)
    moved.ImagePositionPatient = [-20, 30, 99]
    write(moved, tmp_path / "again.dcm")
    with pytest.raises(DicomError, match="UID_CONFLICT"):
        read_dicom(str(tmp_path))


def test_slope_and_intercept_are_those_of_each_slice(tmp_path: Path) -> None:
    def change(dataset: Dataset, number: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 + number, 10.25 * number

    image = read_dicom(str(write_series(tmp_path, change=change)))
    slopes, offsets = 0.5 + np.arange(5), 10.25 * np.arange(5)
    np.testing.assert_allclose(image.pixels, stored(5) * slopes + offsets, rtol=1e-6)


def test_the_first_slice_does_not_decide_the_type_of_the_others(tmp_path: Path) -> None:
    def change(dataset: Dataset, number: int) -> None:
        if number == 0:
            set_pixels(dataset, np.full((ROWS, COLUMNS), 200, np.uint8))
        else:
            set_pixels(dataset, np.full((ROWS, COLUMNS), -900 - number, np.int16))
        dataset.RescaleIntercept = 0

    image = read_dicom(str(write_series(tmp_path, change=change)))
    assert image.pixels[0, 0].tolist() == [200, -901, -902, -903, -904]


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_the_stored_ones_mean_nothing(tmp_path: Path, signed: bool) -> None:
    low = -2048 if signed else 0

    def change(dataset: Dataset, number: int) -> None:
        values = samples(number).astype(np.int32) + low
        dirty = np.random.default_rng(9).integers(0, 16, values.shape) << 12
        cells = ((values & 0x0FFF) | dirty).astype(np.uint16)
        set_pixels(dataset, cells.view(np.int16) if signed else cells, bits=12)

    image = read_dicom(str(write_series(tmp_path, change=change)))
    np.testing.assert_array_equal(image.pixels, stored(5) + low - 1024)


def test_a_modality_table_replaces_slope_and_intercept(tmp_path: Path) -> None:
    def change(dataset: Dataset, number: int) -> None:
        item = table(range(10000, 10000 + 4096), 0, 16)
        item.ModalityLUTType = "HU"
        dataset.ModalityLUTSequence = Items([item])
        del dataset.RescaleSlope, dataset.RescaleIntercept

    image = read_dicom(str(write_series(tmp_path, change=change)))
    np.testing.assert_array_equal(image.pixels, stored(5) + 10000)
    assert "MODALITY_LUT" in codes(image)


@pytest.mark.parametrize(("value", "limit"), [(-2000, None), (63536, None), (-2000, -1990)])
def test_padding_of_a_ct_becomes_air(tmp_path: Path, value: int, limit: int | None) -> None:
    def change(dataset: Dataset, number: int) -> None:
        values = samples(number).astype(np.int16)
        values[0] = -2000 if limit is None else -1995
        set_pixels(dataset, values)
        dataset.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
        if limit is not None:
            dataset.add_new("PixelPaddingRangeLimit", "SS", limit)

    image = read_dicom(str(write_series(tmp_path, change=change)))
    assert (image.pixels[:, 0] == -1024).all()
    np.testing.assert_array_equal(image.pixels[:, 1:], stored(5)[:, 1:] - 1024)
    assert ("PIXEL_PADDING", f"{5 * COLUMNS} of {5 * ROWS * COLUMNS} voxels") in image.events


def test_an_mr_without_rescale_keeps_its_stored_values(tmp_path: Path) -> None:
    image = read_dicom(str(write_series(tmp_path, make=mr_slice)))
    np.testing.assert_array_equal(image.pixels, stored(5))
    assert codes(image) == ["NO_RESCALE"]


def test_hounsfield_units_are_not_inverted_by_the_way_they_are_shown(tmp_path: Path) -> None:
    def change(dataset: Dataset, number: int) -> None:
        dataset.PhotometricInterpretation = "MONOCHROME1"

    image = read_dicom(str(write_series(tmp_path, change=change)))
    np.testing.assert_array_equal(image.pixels, stored(5) - 1024)
    assert "MONOCHROME1_KEPT" in codes(image)


@pytest.mark.parametrize("degrees", [-18.5, 16.5])
def test_the_affine_of_a_tilted_gantry_is_exactly_sheared(tmp_path: Path, degrees: float) -> None:
    image = read_dicom(str(write_series(tmp_path, change=tilted(degrees))))
    assert ("GANTRY_TILT", f"{abs(degrees):.1f} degrees") in image.events
    for number in range(5):
        corner = image.affine @ [0, ROWS - 1, number, 1]
        angle = np.radians(degrees)
        along, up = 0.5 * (ROWS - 1) * np.cos(angle), -0.5 * (ROWS - 1) * np.sin(angle)
        np.testing.assert_allclose(corner[:3], [20, -30 - along, 4 * number + up], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ImagePositionPatient", [float("nan"), 0, 0]),
        ("ImagePositionPatient", [1e308, 0, 0]),
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
        ("ImageOrientationPatient", [1, 0, 0]),
        ("PixelSpacing", [0, 0.5]),
        ("PixelSpacing", [-0.5, 0.5]),
        ("PixelSpacing", [1e-30, 0.5]),
        ("RescaleSlope", float("nan")),
        ("RescaleSlope", float("inf")),
        ("RescaleIntercept", 1e300),
    ],
)
def test_impossible_numbers_are_refused(tmp_path: Path, name: str, value: object) -> None:
    def change(dataset: Dataset, number: int) -> None:
        if number == 1:
            dataset[name].value = value

    write_series(tmp_path, change=change)
    with pytest.raises(DicomError, match="BAD_GEOMETRY|BAD_RESCALE"):
        read_dicom(str(tmp_path))


def test_a_lost_slice_inside_is_refused_and_several_acquisitions_too(tmp_path: Path) -> None:
    write_series(tmp_path / "lost", 7)
    (tmp_path / "lost" / "003.dcm").unlink()
    with pytest.raises(DicomError, match=r"gaps of 2.00 to 4.00 mm.*IRREGULAR_SPACING"):
        read_dicom(str(tmp_path / "lost"))

    def twice(dataset: Dataset, number: int) -> None:
        dataset.ImagePositionPatient = [-20, 30, number // 2]
        dataset.AcquisitionNumber = number % 2

    write_series(tmp_path / "twice", 8, twice)
    with pytest.raises(DicomError, match=r"4 of 8 slices.*REPEATED_POSITIONS"):
        read_dicom(str(tmp_path / "twice"))


def test_events_are_those_of_the_table_and_tell_no_identifier(tmp_path: Path) -> None:
    (tmp_path / ".tags").write_text("{}")
    image = read_dicom(str(write_series(tmp_path, change=tilted(10))))
    assert set(codes(image)) <= set(EVENTS)
    assert not any(secret in repr(image.events) for secret in SECRETS)
    assert not any(str(secret) in repr(vars(image)) for secret in SECRETS)
