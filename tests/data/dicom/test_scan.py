from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from medfuse.audit import open_picture
from medfuse.data.dicom.read import read_dicom
from medfuse.data.dicom.refusal import SKIPS, DicomError
from medfuse.data.dicom.scan import list_series
from medfuse.data.image_file import read_pixels

from .faults import FAULTS
from .synthetic import (
    DEFLATED,
    ROOT,
    SECRETS,
    STORAGE,
    ct_slice,
    enhanced,
    header,
    mr_slice,
    projection,
    samples,
    set_pixels,
    write,
    write_series,
)


def make_localizer() -> Dataset:
    dataset = ct_slice(90)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return dataset


def make_page() -> Dataset:
    dataset = header("7", "CT", 91)
    dataset.ImageType = ["DERIVED", "SECONDARY", "DOSE_INFO"]
    set_pixels(dataset, samples(0))
    return dataset


def make_report() -> Dataset:
    return header("88.33", "SR", 92)


def make_segmentation() -> Dataset:
    dataset = header("66.4", "SEG", 93)
    set_pixels(dataset, samples(0))
    return dataset


def make_directory() -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.1.3.10"
    return dataset


OTHERS = {
    "LOCALIZER": make_localizer,
    "SECONDARY_CAPTURE": make_page,
    "NOT_AN_IMAGE": make_report,
    "DICOMDIR": make_directory,
}


def test_a_mixed_folder_gives_the_axial_series_and_says_what_else_was_there(tmp_path: Path) -> None:
    write_series(tmp_path / "axial")
    for code, make in OTHERS.items():
        write(make(), tmp_path / "other" / code)
    write(make_segmentation(), tmp_path / "other" / "SEG")
    for name in (".DS_Store", ".tags", "notes.txt"):
        (tmp_path / "axial" / name).write_text("DOE^JANE")
    (tmp_path / "axial" / "cut.dcm").write_bytes(b"short")
    listing = list_series(str(tmp_path))
    (series,) = listing.series
    assert (series.modality, series.count, len(series.files)) == ("CT", 5, 5)
    found = {skipped.code: skipped.count for skipped in listing.skipped}
    expected = {**dict.fromkeys(OTHERS, 1), "NOT_AN_IMAGE": 2, "NOT_DICOM": 3, "NO_PREAMBLE": 1}
    assert found == expected
    image = read_dicom(str(tmp_path))
    assert image.pixels.shape[2] == 5
    told = {detail for code, detail in image.events if code == "SKIPPED"}
    assert told == {f"{code} {count}" for code, count in expected.items()}


@pytest.mark.parametrize("code", sorted(OTHERS))
def test_nothing_but_other_objects_is_not_diagnostic(tmp_path: Path, code: str) -> None:
    write(OTHERS[code](), tmp_path / "one")
    with pytest.raises(DicomError, match=rf"{code} 1.*NOT_DIAGNOSTIC"):
        read_dicom(str(tmp_path))


def test_a_localizer_in_the_series_of_the_slices_is_left_out(tmp_path: Path) -> None:
    write_series(tmp_path)
    write(make_localizer(), tmp_path / "zz.dcm")
    assert read_dicom(str(tmp_path)).pixels.shape[2] == 5


def test_a_key_chooses_a_series_and_does_not_tell_its_uid(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")

    def other(dataset: Dataset, number: int) -> None:
        dataset.SeriesInstanceUID = f"{ROOT}77"

    write_series(tmp_path / "mr", 4, other, mr_slice)
    keys = {series.modality: series.key for series in list_series(str(tmp_path)).series}
    assert keys["MR"] == hashlib.sha256(f"{ROOT}77".encode()).hexdigest()[:12]
    assert read_dicom(f"{tmp_path}::{keys['MR']}").modality == "MR"
    assert read_dicom(f"{tmp_path}::{keys['CT']}").modality == "CT"
    with pytest.raises(DicomError, match=rf"{keys['MR']} \(MR 4\).*AMBIGUOUS_SERIES"):
        read_dicom(str(tmp_path))


@pytest.mark.slow
def test_a_bad_series_does_not_spoil_its_neighbors(tmp_path: Path) -> None:
    write_series(tmp_path / "good")

    def other(dataset: Dataset, number: int) -> None:
        dataset.SeriesInstanceUID = f"{ROOT}77"
        dataset.RescaleSlope = 0

    write_series(tmp_path / "bad", change=other)
    for name in ("damaged", "bomb"):
        (tmp_path / name).mkdir()
    FAULTS["DAMAGED"](tmp_path / "damaged")
    FAULTS["DEFLATE_BOMB"](tmp_path / "bomb").rename(tmp_path / "good" / "bomb.dcm")
    listing = list_series(str(tmp_path))
    outcomes = set()
    for series in listing.series:
        with pytest.raises(DicomError) as caught:
            read_dicom(f"{tmp_path}::{series.key}")
        outcomes.add(caught.value.code)
    assert outcomes == {"BAD_RESCALE", "DEFLATE_BOMB"}
    (tmp_path / "good" / "bomb.dcm").unlink()
    assert read_dicom(str(tmp_path / "good")).modality == "CT"


def test_a_header_that_asks_for_all_memory_costs_its_own_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import medfuse.data.dicom.dataset as module

    real = module.pydicom.dcmread

    def greedy(file: object, **options: object) -> Dataset:
        if str(getattr(file, "name", "")).endswith("greedy.dcm"):
            raise MemoryError
        return real(file, **options)

    monkeypatch.setattr(module.pydicom, "dcmread", greedy)
    write(ct_slice(40), write_series(tmp_path) / "greedy.dcm")
    listing = list_series(str(tmp_path))
    assert [(found.code, found.count) for found in listing.skipped] == [("TOO_LARGE", 1)]
    assert listing.series[0].count == 5


def test_links_and_pipes_inside_a_folder_are_not_opened(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series")
    os.mkfifo(folder / "pipe.dcm")
    write(ct_slice(70), tmp_path / "outside.dcm")
    (folder / "link.dcm").symlink_to(tmp_path / "outside.dcm")
    (folder / "loop").symlink_to(folder)
    listing = list_series(str(folder))
    assert [(s.code, s.count) for s in listing.skipped] == [("NOT_REGULAR", 3)]
    assert listing.series[0].count == 5


def test_a_link_that_is_named_itself_is_followed(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series")
    (tmp_path / "link").symlink_to(folder)
    assert read_dicom(str(tmp_path / "link")).pixels.shape[2] == 5


def test_listing_tells_no_identifier_but_the_paths_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def modality(dataset: Dataset, number: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.Modality = "DOE^JANE"

    write_series(tmp_path / "a", change=modality)
    monkeypatch.chdir(tmp_path)
    listing = list_series("a")
    assert listing.series[0].modality == ""
    assert not any(secret in repr(listing) for secret in SECRETS)
    assert read_dicom("a").modality == ""


def test_skips_are_those_of_the_table(tmp_path: Path) -> None:
    write_series(tmp_path)
    (tmp_path / "x").write_text("x")
    assert {found.code for found in list_series(str(tmp_path)).skipped} <= set(SKIPS)


def test_listing_reads_no_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import medfuse.data.dicom.dataset as module

    asked = []
    real = module.pydicom.dcmread

    def spy(file: object, **options: object) -> Dataset:
        asked.append(options["stop_before_pixels"])
        return real(file, **options)

    monkeypatch.setattr(module.pydicom, "dcmread", spy)
    write_series(tmp_path)
    list_series(str(tmp_path))
    assert asked == [True] * 5


def test_a_single_file_of_each_kind_is_an_image(tmp_path: Path) -> None:
    flat = read_dicom(str(write(ct_slice(3), tmp_path / "ct.dcm")))
    assert flat.affine is None
    assert flat.spacing == (0.5, 0.4)
    assert (flat.pixels == samples(3) - 1024.0).all()
    assert ("SINGLE_SLICE", "") in flat.events
    shown = read_dicom(str(write(projection(samples(1)), tmp_path / "dx.dcm", DEFLATED)))
    assert (shown.modality, shown.affine) == ("DX", None)


def test_a_picture_keeps_the_spacing_of_its_rows_and_columns(tmp_path: Path) -> None:
    slice_ = read_pixels(str(write(ct_slice(3), tmp_path / "ct.dcm")))[1]
    assert slice_.spacing == (0.5, 0.4)
    chest = read_pixels(str(write(projection(samples(1)), tmp_path / "dx.dcm")))[1]
    assert chest.spacing == (0.2, 0.1)
    dataset = enhanced(frames=1)
    assert read_pixels(str(write(dataset, tmp_path / "mf.dcm")))[1].spacing == (0.5, 0.4)
    assert open_picture(str(tmp_path / "ct.dcm")).spacing == (0.5, 0.4)


def test_a_slice_without_geometry_is_a_picture_but_no_volume(tmp_path: Path) -> None:
    def change(dataset: Dataset, number: int) -> None:
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient, dataset.PixelSpacing

    write_series(tmp_path, change=change)
    assert read_dicom(str(tmp_path / "001.dcm")).spacing is None
    with pytest.raises(DicomError, match="NO_GEOMETRY"):
        read_dicom(str(tmp_path))


def test_storage_classes_are_known_by_uid_not_by_modality(tmp_path: Path) -> None:
    def change(dataset: Dataset, number: int) -> None:
        dataset.SOPClassUID = STORAGE + "104.1"

    write_series(tmp_path, change=change)
    with pytest.raises(DicomError, match="NOT_AN_IMAGE 5"):
        read_dicom(str(tmp_path))
