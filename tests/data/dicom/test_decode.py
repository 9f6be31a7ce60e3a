from __future__ import annotations

import io
import traceback
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from medfuse.data.dicom import decode
from medfuse.data.dicom.read import read_dicom
from medfuse.data.dicom.refusal import DicomError

from .encoders import jpeg_2000, jpeg_lossless, jpeg_ls, rle
from .faults import encapsulated, fragments, jpeg_start
from .synthetic import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    ct_slice,
    header,
    projection,
    samples,
    set_pixels,
    write,
    write_series,
)

JPEG = "1.2.840.10008.1.2.4."
GDCM_ONLY = (JPEG + "57", JPEG + "70")
RLE = "1.2.840.10008.1.2.5"


ENCODERS: dict[str, Callable[[NDArray[np.uint16]], bytes]] = {
    RLE: rle,
    JPEG + "57": partial(jpeg_lossless, predictor=4),
    JPEG + "70": partial(jpeg_lossless, predictor=1),
    JPEG + "80": jpeg_ls,
    JPEG + "90": jpeg_2000,
}


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG_ENDIAN, DEFLATED, *ENCODERS])
def test_each_lossless_transfer_syntax_gives_the_same_volume(tmp_path: Path, syntax: str) -> None:
    if syntax in GDCM_ONLY and find_spec("gdcm") is None:
        pytest.skip("promise not shown: lossless JPEG needs python-gdcm")
    expected = read_dicom(str(write_series(tmp_path / "plain")))
    for number in range(5):
        dataset = ct_slice(number)
        if syntax in ENCODERS:
            dataset.PixelData = encapsulated(ENCODERS[syntax](samples(number)))
            dataset["PixelData"].VR = "OB"
            dataset["PixelData"].is_undefined_length = True
        elif syntax == BIG_ENDIAN:
            dataset.PixelData = samples(number).astype(">u2").tobytes()
        write(dataset, tmp_path / "coded" / f"{number}.dcm", syntax)
    image = read_dicom(str(tmp_path / "coded"))
    assert image.pixels.tobytes() == expected.pixels.tobytes()
    assert image.affine.tobytes() == expected.affine.tobytes()


def test_8_bit_samples_in_big_endian_words(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    dataset = projection(pixels, 8)
    dataset.PixelData = pixels.view("<u2").astype(">u2").tobytes()
    dataset["PixelData"].VR = "OW"
    image = read_dicom(str(write(dataset, tmp_path / "x.dcm", BIG_ENDIAN)))
    np.testing.assert_allclose(image.pixels, pixels / 255, atol=1e-6)


def test_loss_is_said(tmp_path: Path) -> None:
    dataset = projection(samples(0))
    dataset.LossyImageCompression = "01"
    image = read_dicom(str(write(dataset, tmp_path / "x.dcm")))
    assert ("LOSSY", "1 of 1 objects") in image.events


@pytest.mark.parametrize("syntax", [JPEG + "70", JPEG + "90"])
def test_a_codestream_larger_than_its_header_says_is_not_decoded(
    tmp_path: Path, syntax: str
) -> None:
    jpeg_2000 = b"\xff\x4f\xff\x51" + bytes(4) + np.array([60000, 60000, 0, 0], ">u4").tobytes()
    start = jpeg_2000 if syntax.endswith("90") else jpeg_start(60000, 60000)
    path = fragments(tmp_path, syntax, start + bytes(40))
    with pytest.raises(DicomError, match=r"codestream of \(60000, 60000\).*DECODE_FAILED"):
        read_dicom(str(path))


def test_color_in_a_lossy_jpeg_keeps_its_colors(tmp_path: Path) -> None:
    pytest.importorskip("gdcm", reason="promise not shown: needs python-gdcm")
    row, column = np.mgrid[0:64, 0:80]
    rgb = np.stack([row * 3, column * 3, 255 - row * 2], axis=-1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "JPEG", quality=97, subsampling=0)
    dataset = header("6.1", "US")
    set_pixels(dataset, rgb, photometric="YBR_FULL_422")
    dataset.PixelData = encapsulated(stream.getvalue())
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    image = read_dicom(str(write(dataset, tmp_path / "us.dcm", JPEG + "50")))
    assert np.abs(image.pixels * 255 - rgb).mean() < 2
    assert ("LOSSY", "1 of 1 objects") in image.events


def test_a_picture_of_impossible_size_is_refused_before_its_pixels(tmp_path: Path) -> None:
    dataset = projection(samples(0))
    dataset.Rows = dataset.Columns = 65535
    path = write(dataset, tmp_path / "x.dcm")
    with pytest.raises(DicomError, match="TOO_LARGE"):
        read_dicom(str(path))


def test_a_decoder_that_panics_ends_in_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PanicError(BaseException):
        pass

    def panic(*args: object) -> None:
        raise PanicError("MRN-4711")

    monkeypatch.setattr(decode, "_with_pydicom_2", panic)
    monkeypatch.setattr(decode, "_with_pydicom_3", panic)
    path = fragments(tmp_path, RLE, rle(samples(0)))
    with pytest.raises(DicomError, match=r"PanicError.*DECODE_FAILED") as caught:
        read_dicom(str(path))
    assert "MRN" not in "".join(traceback.format_exception(caught.value))


def test_no_decoder_under_the_gpl_is_asked(tmp_path: Path) -> None:
    decoders = {name for names in decode._DECODERS.values() for name in names}
    assert decoders == {"pydicom", "pylibjpeg", "gdcm", "pillow", "pyjpegls"}
    served_by_libjpeg = {f"{JPEG}{n}" for n in (50, 51, 57, 70, 80, 81)}
    assert all("pylibjpeg" not in decode._DECODERS[uid] for uid in served_by_libjpeg)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BitsAllocated", 32),
        ("BitsAllocated", 1),
        ("HighBit", 15),
        ("BitsStored", 0),
        ("PixelRepresentation", 2),
        ("SamplesPerPixel", 4),
        ("Rows", 0),
        ("Rows", None),
    ],
)
def test_a_description_that_cannot_be_is_refused(tmp_path: Path, name: str, value: object) -> None:
    dataset = projection(samples(0))
    setattr(dataset, name, value)
    path = write(dataset, tmp_path / "x.dcm")
    with pytest.raises(DicomError, match="PIXEL_FORMAT"):
        read_dicom(str(path))


def test_pixels_that_are_absent_or_short_are_refused(tmp_path: Path) -> None:
    absent, short = projection(samples(0)), projection(samples(0))
    del absent.PixelData
    short.PixelData = short.PixelData[:-2]
    for dataset in (absent, short):
        path = write(dataset, tmp_path / "x.dcm")
        with pytest.raises(DicomError, match="TRUNCATED"):
            read_dicom(str(path))


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    dataset = ct_slice(0)
    del dataset.PixelData
    dataset.FloatPixelData = np.zeros(120, "<f4").tobytes()
    path = write(dataset, tmp_path / "x.dcm")
    with pytest.raises(DicomError, match="TRUNCATED|PIXEL_FORMAT"):
        read_dicom(str(path))


def test_8_bit_pictures_need_no_even_row(tmp_path: Path) -> None:
    pixels = np.arange(35, dtype=np.uint8).reshape(5, 7)
    dataset: Dataset = projection(pixels, 8)
    set_pixels(dataset, pixels)
    image = read_dicom(str(write(dataset, tmp_path / "x.dcm", EXPLICIT)))
    np.testing.assert_allclose(image.pixels, pixels / 255, atol=1e-6)
