"""What a plugin's reader gives is checked like a built-in format; what it raises is a code."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medfuse.data.image_facts import ImageFileError
from medfuse.data.image_file import read_pixels
from medfuse.data.plugin_reader import PluginReader, longest_ending, reader_of
from medfuse.data.volume_file import read_volume, volume_header
from medfuse.preprocessing.kind import kind_of

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


def reader(
    pixels: Any = None, affine: Any = AFFINE, modality: Any = "CT", suffixes: Any = (".f32",)
) -> PluginReader:
    def read(path: str) -> Any:
        if isinstance(pixels, BaseException):
            raise pixels
        return SimpleNamespace(pixels=pixels, affine=affine, modality=modality)

    return PluginReader("acme:grid", suffixes, read)


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "Scan.F32").write_bytes(b"1234")
    return str(tmp_path / "Scan.F32")


def test_a_volume_has_values_place_and_modality(file: str) -> None:
    pixels = np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4)
    volume = read_volume(file, [reader(pixels)])
    np.testing.assert_array_equal(volume.pixels, pixels[0])
    assert volume.pixels.dtype == np.float32
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert (volume.modality, volume.bits) == ("CT", 16)
    assert volume_header(file, [reader(pixels)]).shape == (2, 3, 4)
    assert kind_of(file, [reader(pixels)]) == "volume"


@pytest.mark.parametrize(("channels", "shape"), [(1, (4, 5)), (3, (4, 5, 3))])
def test_a_picture_comes_rows_first_in_its_own_type(file: str, channels: int, shape) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (channels, 4, 5), np.uint8)
    found, facts = read_pixels(file, [reader(pixels, None, "CR")])
    assert (found.shape, found.dtype) == (shape, np.uint8)
    np.testing.assert_array_equal(found if channels == 1 else np.moveaxis(found, -1, 0)[0],
                                  pixels[0])  # fmt: skip
    assert (facts.bits, facts.modality, facts.format) == (8, "CR", "acme:grid")
    assert kind_of(file, [reader(pixels)]) == "image"


def test_an_unknown_modality_is_empty_as_of_built_in_formats(file: str) -> None:
    assert read_pixels(file, [reader(np.ones((1, 2, 2)), modality="other")])[1].modality == ""
    assert read_pixels(file, [reader(np.ones((1, 2, 2)), modality=None)])[1].modality == ""


@pytest.mark.parametrize(
    "raised", [RuntimeError("of Jane Doe"), SystemExit(1), KeyError("x"), RecursionError()]
)
@pytest.mark.parametrize("read", [read_pixels, read_volume, volume_header])
def test_a_reader_that_raises_refuses_the_file_by_code(file: str, read, raised) -> None:
    with pytest.raises(ImageFileError, match=r"reader acme:grid of a plugin failed \(") as caught:
        read(file, [reader(raised)])
    assert caught.value.code == "PLUGIN_READER"
    assert "Jane" not in str(caught.value)


@pytest.mark.parametrize(
    ("pixels", "affine", "code"),
    [
        (np.ones((2, 3)), AFFINE, "PLUGIN_READER"),
        (np.ones((1, 2, 3, 4, 5)), AFFINE, "PLUGIN_READER"),
        (np.ones((1, 0, 3, 4)), AFFINE, "PLUGIN_READER"),
        (np.full((1, 2, 3, 4), "x"), AFFINE, "PLUGIN_READER"),
        (np.ones((1, 2, 3, 4), complex), AFFINE, "PLUGIN_READER"),
        (np.ones((1, 2, 3, 4)), np.eye(3), "PLUGIN_READER"),
        (np.ones((1, 2, 3, 4)), np.zeros((4, 4)), "NO_GEOMETRY"),
        (np.ones((3, 2, 3, 4)), AFFINE, "UNSUPPORTED_SHAPE"),
        (np.ones((1, 3, 4)), AFFINE, "UNSUPPORTED_SHAPE"),
        (np.full((1, 2, 3, 4), np.nan), AFFINE, "NON_FINITE"),
        (np.full((1, 2, 3, 4), 1e300), AFFINE, "NON_FINITE"),
        (np.broadcast_to(np.uint8(0), (1, 2048, 2048, 128)), AFFINE, "TOO_LARGE"),
        (MemoryError(), AFFINE, "TOO_LARGE"),
    ],
)
def test_a_volume_that_is_none_has_its_code(file: str, pixels, affine, code: str) -> None:
    with pytest.raises(ImageFileError) as caught:
        read_volume(file, [reader(pixels, affine)])
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("pixels", "code"),
    [
        (np.ones((1, 2, 3, 4)), "UNSUPPORTED_SHAPE"),
        (np.ones((2, 3, 4)), "UNSUPPORTED_SHAPE"),
        (np.full((1, 3, 4), np.inf), "NON_FINITE"),
        (np.broadcast_to(np.uint8(0), (1, 10_000, 10_000)), "TOO_LARGE"),
    ],
)
def test_a_picture_that_is_none_has_its_code(file: str, pixels, code: str) -> None:
    with pytest.raises(ImageFileError) as caught:
        read_pixels(file, [reader(pixels)])
    assert caught.value.code == code


def test_a_reader_gets_no_absent_and_no_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.f32").write_bytes(b"")
    for name, code in (("absent.f32", "FILE_NOT_FOUND"), ("empty.f32", "EMPTY_FILE")):
        for read in (read_pixels, read_volume):
            with pytest.raises(ImageFileError) as caught:
                read(str(tmp_path / name), [reader(AssertionError())])
            assert caught.value.code == code


def test_a_part_of_a_plugin_s_file_cannot_be_named(file: str) -> None:
    for read in (read_pixels, read_volume):
        with pytest.raises(ImageFileError):
            read(f"{file}::0", [reader(np.ones((1, 2, 2)))])


def test_the_longest_ending_decides() -> None:
    assert longest_ending("a.nii.gz", (".gz", ".nii.gz", ".nii")) == ".nii.gz"
    packed, special = reader(suffixes=(".gz",)), reader(suffixes=(".seg.nrrd",))
    assert reader_of("a.nii.gz", [packed, special]) is None
    assert reader_of("A.TXT.GZ", [packed, special]) is packed
    assert reader_of("a.seg.nrrd", [packed, special]) is special
    assert reader_of("a.nrrd", [packed, special]) is None
    assert reader_of("a.xyz", [packed, special]) is None
